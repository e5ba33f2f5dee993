"""Scorers learned from a team's own traffic: features, training, evaluation, drift."""
