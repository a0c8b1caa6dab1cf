"""Photos -> QuantPlan: what quantization decides, once, for every format."""
