"""What every stage process needs: files, errors, signals, metrics, and quiet libraries.

Nothing here knows about rows, models or tasks."""
