"""Sending fewer tokens: compression, and layouts that providers' own prompt caches recognise."""
