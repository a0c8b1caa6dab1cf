"""Devices that run exported files: one module per runtime lists and opens its devices."""
