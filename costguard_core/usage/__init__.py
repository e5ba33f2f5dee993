"""What providers report, read into one convention, and what is counted before a call."""
