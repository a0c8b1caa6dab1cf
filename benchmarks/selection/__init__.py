"""Selection of the best file or variant within a latency budget, with the reasons."""
