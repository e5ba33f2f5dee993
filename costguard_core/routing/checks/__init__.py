"""Checks of answers and requests: final numbers, sums, schemas, refusals, a judge."""
