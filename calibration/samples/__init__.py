"""Calibration samples: photos, generated pictures, and the check for domain shift."""
