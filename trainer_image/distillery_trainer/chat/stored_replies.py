"""Finds the stored reply to a request of one model, also where it was asked for with another limit on its length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distillery_trainer.chat.output_limits import holds_under
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.chat.request_parameters import OUTPUT_LIMITS, output_limit
from distillery_trainer.data.rows import Message


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply and the key that it is stored under."""

    key: str
    reply: Reply


class StoredReplies:
    """The journal's replies to requests of a model with these parameters."""

    def __init__(self, journal: ReplyJournal, model_id: str, parameters: Mapping[str, Any]) -> None:
        self._journal, self._model_id, self._parameters = journal, model_id, dict(parameters)
        self._limit = output_limit(parameters)
        self._keys: dict[tuple[int, float | None, int | None], ReplyKeys] = {}

    def key(self, messages: list[Message], sample: int = 0, temperature: float | None = None) -> str:
        """The key that the reply to a request is stored under."""
        return self._keys_for(sample, temperature, self._limit).key(messages)

    def find(self, messages: list[Message], sample: int = 0, temperature: float | None = None) -> StoredReply | None:
        """The stored reply to a request: under its own key, else one under another limit that holds under this."""
        key = self.key(messages, sample, temperature)
        if (reply := self._journal.get(key)) is not None:
            return StoredReply(key, reply)
        return next(self._under_other_limits(messages, sample, temperature), None)

    def note_limit(self) -> None:
        """Note the limit of the requests to come, so that later runs find their replies under another one."""
        if self._limit is not None:
            self._journal.limits.add(self._limit)

    def _under_other_limits(
        self, messages: list[Message], sample: int, temperature: float | None
    ) -> Iterator[StoredReply]:
        if self._limit is None:
            return
        for other in self._journal.limits.others(self._limit):
            key = self._keys_for(sample, temperature, other).key(messages)
            reply = self._journal.get(key)
            if reply is not None and holds_under(reply, other, self._limit):
                yield StoredReply(key, reply)

    def _keys_for(self, sample: int, temperature: float | None, limit: int | None) -> ReplyKeys:
        chosen = sample, temperature, limit
        if chosen not in self._keys:
            changed: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
            if limit != self._limit:
                changed |= {name: limit for name in OUTPUT_LIMITS if name in self._parameters}
            self._keys[chosen] = ReplyKeys(self._model_id, self._parameters | changed, sample)
        return self._keys[chosen]
