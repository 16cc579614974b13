"""What shows a run: figures, tables and one HTML page."""
