"""What every stage needs of its process: files, errors, signals, metrics, and quiet libraries.

Nothing here knows of rows, models or teachers."""
