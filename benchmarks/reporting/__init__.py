"""Reports of measurements: text, terminal table, plots, and the HTML page."""
