"""Prompt economy for LLMs and retrieved nodes."""
