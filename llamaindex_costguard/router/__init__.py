"""The router as an LLM."""
