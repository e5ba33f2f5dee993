"""Embeddings that are metered, budgeted and cached."""
