"""Graph passes before quantization: each returns a model that computes the same function."""
