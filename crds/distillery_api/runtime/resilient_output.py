"""Standard output and error that take every text."""

from __future__ import annotations

import io
import sys


def accept_every_character() -> None:
    """From now on, a character that the terminal's encoding lacks is printed as an escape such as \\xe9.

    By default, one such character in a name or a row would end the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
