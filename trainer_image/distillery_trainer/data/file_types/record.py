"""What every file type yields, and how it refuses a whole file."""

from __future__ import annotations

from typing import Any

Record = tuple[int, dict[str, Any]]
"""Line or row number, from 1, and its content."""


class UnusableFile(Exception):
    """No row of the file is used. The message, the end of a sentence, says what the file is and what to do."""
