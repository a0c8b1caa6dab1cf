"""Resumable sweep: export and measure all combinations of variants, formats and precisions."""
