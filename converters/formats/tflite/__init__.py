"""The .tflite writer: no TensorFlow and no conversion of graphs."""
