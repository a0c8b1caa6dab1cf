"""Latency predicted by a device's fitted latency model; top-1 from published accuracies."""
