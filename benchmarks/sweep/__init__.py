"""Sweep: variants x formats x precisions, exported and measured; resumable."""
