"""Runtimes of exported files: one `Runner` per runtime, and `open_model` for all of them."""
