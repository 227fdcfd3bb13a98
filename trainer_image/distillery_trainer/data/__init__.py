"""The user's rows: where they lie, how they are read, and how they are split."""
