"""Words, signs and numbers by which two similar questions ask for different answers."""
