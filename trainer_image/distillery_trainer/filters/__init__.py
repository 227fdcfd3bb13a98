"""Which replies become training rows, and why the others do not."""
