"""A sampled second answer by another tier: when, on which budget, and the log that keeps it."""
