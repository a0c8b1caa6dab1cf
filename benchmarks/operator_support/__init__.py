"""Operator support: which operators of a file run on a target (`edge-effnet check`)."""
