"""Scorers learned from a team's own traffic: rows, features, training, evaluation, drift."""
