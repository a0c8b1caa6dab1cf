"""Calibration samples: photos, generated images, and the check for domain shift."""
