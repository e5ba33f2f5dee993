"""Metering from LlamaIndex's own events."""
