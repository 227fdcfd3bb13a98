"""The key under which the journal stores a reply."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from distillery_trainer.data.rows import Message


class ReplyKeys:
    """Keys of replies: a digest of all that determines a reply. The server's address and API key do not."""

    def __init__(self, model_id: str, parameters: Mapping[str, Any], sample: int = 0) -> None:
        identity = orjson.dumps([model_id, parameters, sample], option=orjson.OPT_SORT_KEYS)
        self._prefix = hashlib.sha256(identity + b"\n")

    def key(self, messages: Sequence[Message]) -> str:
        """The key of the reply to these messages: 64 hexadecimal digits."""
        digest = self._prefix.copy()
        digest.update(orjson.dumps(messages, option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest()
