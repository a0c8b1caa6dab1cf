"""Trainable torch and Keras modules with a model's weights, and back."""
