"""Measurement of exported files: accuracy, latency, size, and the report.

- accuracy: files + photos -> `Evaluation` (top-1, top-5, agreement, drop, SQNR)
- latency: files -> `Record` per file, each timed in its own process, in interleaved rounds
- compare: accuracy and latency -> results.json and report.html
- records: `Record`, `Host`, `Results` and their JSON
- reporting: `Results` -> table for the terminal, plots, HTML page

Importing this package loads nothing; each module imports what it needs.
"""
