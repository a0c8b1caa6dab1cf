"""The project's own benchmarks: ``edge-effnet bench``."""
