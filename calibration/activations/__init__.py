"""Quantization parameters of activations, chosen from calibration statistics."""
