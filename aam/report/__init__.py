"""Figures, tables and the HTML page of a run.

record                             the files of a run, read once
build                              draws the pictures of a run and writes its report
samples                            samples of a run under its model: ordination and audit
finding, captions, terms           the opening sentence; what to see in pictures; what words mean
digits, naming                     numbers and ASVs in few characters
parts, study_table, page           parts of the page as data; the page, from templates
figures, curves, target_figures    what is drawn; they alone import matplotlib
"""
