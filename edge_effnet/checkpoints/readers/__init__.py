"""Readers of checkpoint files as named numpy arrays, without the framework that wrote them."""
