"""The guarded LLM."""
