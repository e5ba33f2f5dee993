"""The page: where the money goes, in one look, over a ledger and a counter store. It needs the extra ``web``."""
