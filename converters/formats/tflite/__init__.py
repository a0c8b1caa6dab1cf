"""TFLite writer, without TensorFlow and without graph conversion."""
