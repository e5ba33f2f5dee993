"""Prompt economy as runnables."""
