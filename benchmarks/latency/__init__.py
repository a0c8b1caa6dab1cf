"""Latency of files, each timed in its own process, with the state of the machine."""
