"""The log-probabilities of a row's answer: cut out of those of the reply, or asked for where the reply has none.

A reply of an earlier run was asked for without them, and an existing reply by nobody here. vLLM scores such a text
without writing it again; other servers are asked the same once more, and where the answer is the same, its
log-probabilities are taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.token_logprobs import Position, joined_bytes, pack, text_bytes, unpack, without_blanks
from distillery_trainer.data.rows import Message
from distillery_trainer.tasks import AnswerOrigin, StudentTurn, TaskDefinition
from distillery_trainer.tasks.read_reply import read_reply

_ERRORS = "surrogateescape"


class AnswerScorer:
    """Finds the log-probabilities of answers."""

    def __init__(self, task: TaskDefinition, again: ChatClient, scoring: ChatClient) -> None:
        """`again` asks for a reply with log-probabilities, `scoring` for those of a given text."""
        self._task, self._again, self._scoring = task, again, scoring
        self.scores_texts = False
        """Whether the server scores a given text, as vLLM does."""
        self.found = self.missing = 0
        """Answers with log-probabilities, and those for which there are none."""

    def summary(self) -> str:
        """For how many answers there are log-probabilities, as a sentence."""
        return f"Log-probabilities of {self.found:,} of {self.found + self.missing:,} train answers."

    async def close(self) -> None:
        """Close all connections."""
        await self._again.close()
        await self._scoring.close()

    async def added(self, turn: StudentTurn) -> StudentTurn:
        """The turn with the log-probabilities of its answer, where there are any."""
        positions = await self._positions(turn.completion, turn.origin) if turn.origin and turn.completion else []
        self.found += bool(positions)
        self.missing += not positions
        return replace(turn, logprobs=pack(positions)) if positions else turn

    async def _positions(self, answer: str, origin: AnswerOrigin) -> list[Position]:
        found = positions_of(answer, stored_positions(origin.reply))
        if found:
            return found
        if self.scores_texts and not origin.reply.reasoning:
            return await self._scored(answer, origin)
        answered = origin.existing or origin.reply.logprobs
        return [] if answered else await self._from_another_reply(answer, origin)

    async def _from_another_reply(self, answer: str, origin: AnswerOrigin) -> list[Position]:
        """Those of another reply to the same request, where it gives the same answer."""
        again = await self._again.ask(origin.messages, origin.sample)
        if not isinstance(again, Reply) or self._read(again, origin) != self._read(origin.reply, origin):
            return []
        return positions_of(answer, stored_positions(again))

    def _read(self, reply: Reply, origin: AnswerOrigin) -> str | None:
        return read_reply(reply, self._task, origin.row_text, messages=origin.messages).answer

    async def _scored(self, answer: str, origin: AnswerOrigin) -> list[Position]:
        """What the server gives for the reply as it stands, up to the end of the answer."""
        found = find_answer(answer, origin.reply.content)
        if found is None:
            return []
        beginning: Message = {"role": "assistant", "content": origin.reply.content[: found[1]]}
        scored = await self._scoring.ask([*origin.messages, beginning])
        return last_positions(answer, stored_positions(scored)) if isinstance(scored, Reply) else []


def stored_positions(reply: Reply) -> list[Position]:
    """The log-probabilities of a reply; none where it has none, or damaged ones."""
    try:
        return unpack(reply.logprobs) if reply.logprobs else []
    except ValueError:
        return []


def positions_of(answer: str, positions: Sequence[Position]) -> list[Position]:
    """Those of a reply's positions that the answer is in; none where the reply does not have it word by word."""
    text = joined_bytes(positions).decode("utf-8", _ERRORS)
    found = find_answer(answer, text)
    if found is None:
        return []
    begin, end = (len(text_bytes(text[:index])) for index in found)
    return _between(positions, begin, end)


def last_positions(answer: str, positions: Sequence[Position]) -> list[Position]:
    """The positions of an answer that a scored text ends with; none where it does not. Blanks are not compared: a
    server may have lost those before words."""
    sought, text, kept = without_blanks(text_bytes(answer)), b"", 0
    while len(text) < len(sought) and kept < len(positions):
        kept += 1
        text = without_blanks(text_bytes(positions[-kept].text)) + text
    return list(positions[-kept:]) if kept and text.endswith(sought) else []


def _between(positions: Sequence[Position], begin: int, end: int) -> list[Position]:
    """The positions that some of the bytes from `begin` to `end` are in."""
    kept, offset = [], 0
    for position in positions:
        following = offset + len(text_bytes(position.text))
        if offset < end and following > begin:
            kept.append(position)
        offset = following
    return kept


def find_answer(answer: str, text: str) -> tuple[int, int] | None:
    """Where an answer begins and ends in the text of a reply: the whole of it, else the last value of a JSON object
    that is the answer, else its last mention as a word of its own; None where there is none."""
    if not answer:
        return None
    if text.strip() == answer:
        begin = text.index(answer)
        return begin, begin + len(answer)
    literal = re.escape(answer)
    for pattern in (f'":\\s*"?({literal})"?(?=\\s*[,}}])', f"(?<!\\w)({literal})(?!\\w)"):
        if found := list(re.finditer(pattern, text)):
            return found[-1].span(1)
    return None
