"""From the user's rows to kept, rejected and held-out rows: preflight, workers, the pipeline of one row, and the files.

How a model is asked is in chat, what it is asked in tasks, and why a row is rejected in filters."""
