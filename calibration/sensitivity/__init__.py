"""Which units cause the quantization noise, and which of them mixed precision keeps in float."""
