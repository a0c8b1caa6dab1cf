"""Model <-> trainable modules of torch and Keras, with the same weights."""
