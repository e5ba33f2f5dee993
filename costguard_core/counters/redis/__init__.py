"""Counters on a Redis server: every operation is one Lua script."""
