"""Readers: files -> named numpy arrays, without the framework that wrote them."""
