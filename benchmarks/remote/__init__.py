"""Measuring on another machine over OpenSSH, and describing a machine."""
