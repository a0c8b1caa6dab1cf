"""Sensitivity of single units, and the choice of float layers for mixed precision."""
