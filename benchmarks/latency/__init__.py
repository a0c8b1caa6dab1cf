"""Latency of files, each in a process of its own, with the conditions of the machine."""
