"""The key of a reply in the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from distillery_trainer.data.records import Message


class ReplyKeys:
    """The key of a reply: everything that determines it. The server's address and the API key do not."""

    def __init__(self, model: str, parameters: Mapping[str, Any], sample: int = 0) -> None:
        identity = orjson.dumps([model, parameters, sample], option=orjson.OPT_SORT_KEYS)
        self._prefix = hashlib.sha256(identity + b"\n")

    def key(self, messages: Sequence[Message]) -> str:
        """64 hex digits for a question."""
        digest = self._prefix.copy()
        digest.update(orjson.dumps(messages, option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest()
