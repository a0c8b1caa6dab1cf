"""TFLite writer that needs neither TensorFlow nor a graph conversion."""
