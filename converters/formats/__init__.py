"""One writer a format: Model (+ QuantPlan) -> the bytes of a file."""
