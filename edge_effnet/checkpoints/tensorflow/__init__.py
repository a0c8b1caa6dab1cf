"""TensorFlow checkpoints: layouts of the official releases, and reader of their files."""
