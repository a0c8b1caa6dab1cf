"""EfficientNet checkpoints to phones, Raspberry Pis and edge accelerators: quantized once, measured."""
