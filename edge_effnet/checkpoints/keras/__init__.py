"""Keras checkpoints: the layout of Keras Applications, and the config of a saved model."""
