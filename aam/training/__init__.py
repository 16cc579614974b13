"""Losses score, steps update, the loop sequences, sinks write."""
