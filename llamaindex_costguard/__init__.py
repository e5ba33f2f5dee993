"""Costguard for LlamaIndex: an adapter over :mod:`costguard_core`, still empty in this version."""
