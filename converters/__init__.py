"""Converters: a model and its quantization plan -> files, one module per format.

Also to and from trainable torch and Keras modules.
"""
