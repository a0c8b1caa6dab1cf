"""Output of the camera: videos, screenshots, predictions as JSON lines."""
