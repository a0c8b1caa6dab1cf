"""Latency predicted from a device's fitted latency model; accuracy from published curves."""
