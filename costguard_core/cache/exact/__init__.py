"""Answers to identical requests: stores, single flight, and the leases that reach across processes."""
