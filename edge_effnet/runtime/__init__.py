"""Opening an exported file: the right runtime by suffix, checked before it is trusted."""
