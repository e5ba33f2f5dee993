"""Caches behind LangChain's ``BaseCache``."""
