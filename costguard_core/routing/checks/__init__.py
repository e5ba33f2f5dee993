"""Whether an answer will do: final numbers, sums, schemas, refusals, a judge."""
