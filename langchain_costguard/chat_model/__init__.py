"""The guarded chat model and the middleware."""
