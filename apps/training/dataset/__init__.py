"""From a folder of photos to `TrainingData`: classes, splits and checks of the photos."""
