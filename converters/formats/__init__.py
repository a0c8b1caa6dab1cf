"""Writers: a model and its plan -> the bytes of a file, one module per format."""
