"""Answers of the running camera: smoothed over frames, as lines of JSON, and to other programs."""
