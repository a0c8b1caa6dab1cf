"""Model (+ QuantPlan) -> files on disk, one module a format; torch and keras for training."""
