"""Which rows and answers become training rows, and why the others are rejected."""
