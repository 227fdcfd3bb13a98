"""When a stored reply answers a request with another limit on its length, and which limits a workspace has used.

The limit (`generation.sampling.maxTokens`) is part of a reply's key, but it only says where a reply is cut off: the
model writes the same up to there. So a complete reply is valid under every limit that it fits into, and one that was
cut off stays cut off under every smaller limit. Only what was cut off has to be asked for again under a larger one.
"""

from __future__ import annotations

import os
from pathlib import Path

from distillery_trainer.chat.reply import Reply
from distillery_trainer.data.finish_reasons import Ending, ending_of
from distillery_trainer.runtime.checked_lines import checked_line, read_lines
from distillery_trainer.runtime.errors import storage_errors_explained

_FILE = "output-limits"
_MOST = 32
"""Limits that are looked for; more than a workspace has in practice."""
_CUT_OFF = (Ending.TRUNCATED, Ending.ABORTED, Ending.OTHER)
# fmt: off
_OF_EARLIER_RELEASES = (
    64, 100, 128, 200, 256, 300, 400, 500, 512, 600, 640, 768, 800, 1000, 1024, 1200, 1500, 2000, 2048, 3000, 4000,
    4096, 8000, 8192,
)
# fmt: on
"""Defaults, and what people write: earlier releases did not note the limits that they used."""


def holds_under(reply: Reply, under: int, limit: int) -> bool:
    """Whether a reply that was asked for with a limit of `under` tokens is what a request with `limit` would get."""
    if ending_of(reply.finish_reason) in _CUT_OFF:
        return limit <= under
    return limit >= under or (reply.output_tokens is not None and reply.output_tokens < limit)


class OutputLimits:
    """The limits on replies that the requests of a workspace have had: one line each, `replies/output-limits`."""

    def __init__(self, folder: Path, *, has_replies: bool) -> None:
        self._path = folder / _FILE
        self._limits = self._read()
        if has_replies and not self._limits:
            self._limits = list(_OF_EARLIER_RELEASES)
        self._written = self._path.exists()

    def others(self, limit: int) -> list[int]:
        """The limits that replies to the same request may be stored under, beside this one: the largest first."""
        return sorted((each for each in self._limits if each != limit), reverse=True)[:_MOST]

    def add(self, limit: int) -> None:
        """Note a limit, before the first request that has it."""
        if limit in self._limits:
            return
        self._limits.append(limit)
        lines = b"".join(checked_line({"limit": each}) for each in ([limit] if self._written else self._limits))
        with storage_errors_explained(str(self._path)):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, lines)
            finally:
                os.close(descriptor)
        self._written = True

    def _read(self) -> list[int]:
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return []
        with stream:
            found = [line.row.get("limit") for line in read_lines(stream) if line.row]
        return list(dict.fromkeys(limit for limit in found if isinstance(limit, int)))
