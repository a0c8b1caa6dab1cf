"""Records as text, tables, plots and the HTML report."""
