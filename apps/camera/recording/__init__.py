"""Output of the camera for people: videos and screenshots."""
