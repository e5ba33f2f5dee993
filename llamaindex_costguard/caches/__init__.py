"""Caches of guarded LLMs."""
