"""Latency measurement on another machine over OpenSSH, and description of a machine."""
