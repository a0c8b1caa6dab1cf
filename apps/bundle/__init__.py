"""Bundle: exported files as a folder or archive with an installer for a board."""
