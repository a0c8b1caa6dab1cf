"""Running exported files: one `Runner` a runtime, and `open_model` over all of them."""
