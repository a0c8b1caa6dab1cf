"""The tables of the EfficientNet papers: computed values beside the published ones."""
