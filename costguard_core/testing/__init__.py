"""Cost tests: a pytest plugin, so that a team's own test suite says what its calls cost."""
