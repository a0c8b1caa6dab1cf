"""Measuring exported files: accuracy, latency, size, and the report about them.

dataset    photos, with labels or without
accuracy   files + photos -> Evaluation (top-1, top-5, agreement, drop, SQNR)
latency    files -> Records (each file in a process of its own, rounds interleaved)
compare    both, to results.json and report.html
results    Record, Host, Results and their JSON
table      Results -> a table for the terminal
report     Results + Evaluation -> one HTML page

Importing this package loads nothing; each module loads what it needs.
"""
