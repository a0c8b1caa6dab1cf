"""Training of the classifier on frozen features, without a training framework."""
