"""Calibration samples: photos, generated pictures, and a check for domain shift."""
