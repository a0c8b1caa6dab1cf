"""Results table: every format, precision and recipe of networks, beside the vendors' quantizers."""
