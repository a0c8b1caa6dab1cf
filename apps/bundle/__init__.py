"""Exported files as a folder or archive that installs and runs itself on a board."""
