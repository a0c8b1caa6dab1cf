"""Tables of the EfficientNet papers: computed values compared with the published values."""
