"""Reserving for several calls at a time, so that a process rarely asks the server."""
