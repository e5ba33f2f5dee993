"""The router as a chat model."""
