"""Converters: a model and its quantization plan -> files, one module per format.

`frameworks` converts models to and from trainable PyTorch and Keras modules.
"""
