"""One model call from lookup to ledger, written once for every framework."""
