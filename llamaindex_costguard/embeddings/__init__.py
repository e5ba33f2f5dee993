"""Embedding models that are metered, budgeted and cached."""
