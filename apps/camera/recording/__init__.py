"""What the camera leaves on disk or prints: videos, screenshots, predictions as JSON lines."""
