"""From the user's rows to kept, rejected and held-out ones: preflight, workers, the way of one row, and the files.

How a model is asked is in chat, what is asked in tasks, and why a row is rejected in filters."""
