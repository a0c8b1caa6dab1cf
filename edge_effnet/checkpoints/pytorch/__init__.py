"""Layouts of PyTorch checkpoints: one module a library."""
