"""Layouts of PyTorch checkpoints, one module per library."""
