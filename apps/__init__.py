"""Applications that run exported files: camera, web page, and bundle for a board."""
