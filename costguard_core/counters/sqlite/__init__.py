"""Counters in a SQLite file, shared by every process of a machine."""
