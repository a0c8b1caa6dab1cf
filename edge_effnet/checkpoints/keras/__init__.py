"""Keras checkpoints: layout of Keras Applications, and parsing of model configs."""
