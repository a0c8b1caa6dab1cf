"""TensorFlow checkpoints: the published layouts, and the reader of .index and .data files."""
