"""Applications of exported files: camera, browser, and device bundle."""
