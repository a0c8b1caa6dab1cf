"""The best file or variant within a budget, and why."""
