"""Integer weights and biases: GPTQ, reconstruction of a layer, sequential quantization."""
