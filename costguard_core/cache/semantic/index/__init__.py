"""Where questions are stored and their nearest neighbours are found."""
