"""Quantization parameters of activations, from statistics over the calibration set."""
