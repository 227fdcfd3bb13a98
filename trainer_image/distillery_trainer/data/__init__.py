"""The user's rows: where they lie, how they are read, and how they are split.

Which rows are left out as duplicates or leaks belongs in filters/; what a model is asked about them, in tasks/."""
