"""Calibration: a network and photos -> QuantizedModel, from which every format is written."""
