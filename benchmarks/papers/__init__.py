"""The papers' tables, computed beside the printed figures."""
