"""Accuracy of files on photos: predictions, top-1, agreement, drop, and diagnosis (doctor)."""
