"""What the ledger says to people: reports, their display, and the time words that select them."""
