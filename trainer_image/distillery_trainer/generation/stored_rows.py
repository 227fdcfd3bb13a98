"""How many rows have all their replies in the journal already, so that a run asks nothing more for them."""

from __future__ import annotations

import itertools
import math
from collections import Counter

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.chat_client import Stopping
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.stored_replies import StoredReplies
from distillery_trainer.data.rows import Message
from distillery_trainer.filters.llm_judge import PARAMETERS, AnswerJudge
from distillery_trainer.generation.preflight import PreparedData
from distillery_trainer.generation.row_pipeline import RowPipeline
from distillery_trainer.tasks import TaskDefinition

_SAMPLED = 2000
"""Rows that are looked up at most, evenly spaced; the share of the others is taken to be the same."""


async def stored_rows(
    config: RunConfig, task: TaskDefinition, data: PreparedData, journal: ReplyJournal
) -> dict[str, int]:
    """How many of the rows to send, by split, have all their replies in the journal. A row without any request, since
    its existing reply is used, is not among them."""
    if len(journal) == 0:
        return {}
    to_send = data.rows_to_send_by_split
    step = math.ceil(max(1, sum(to_send.values())) / _SAMPLED)
    sampled, found = Counter[str](), Counter[str]()
    for indexed in itertools.islice(data.rows_to_send(), 0, None, step):
        teacher, pipeline = _pipeline(config, task, journal)
        sampled[indexed.split] += 1
        try:
            if indexed.split == "test":
                await pipeline.hold_out(indexed.row)
            else:
                await pipeline.training_turns(indexed.row)
        except Stopping:
            continue
        found[indexed.split] += teacher.replies > 0
    return {split: round(to_send[split] * found[split] / count) for split, count in sampled.items()}


def _pipeline(config: RunConfig, task: TaskDefinition, journal: ReplyJournal) -> tuple[_JournalClient, RowPipeline]:
    teacher = _JournalClient(
        StoredReplies(journal, config.generation.teachers[0].model, task.request_parameters()),
    )
    judge = config.generation.judge
    answer_judge = AnswerJudge(task, _JournalClient(StoredReplies(journal, judge.model, PARAMETERS))) if judge else None
    return teacher, RowPipeline(config, task, teacher, answer_judge)


class _JournalClient:
    """A client that has the journal's replies and no others."""

    def __init__(self, stored: StoredReplies) -> None:
        self._stored = stored
        self.replies = 0

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """The stored reply. Raises Stopping where there is none."""
        stored = self._stored.find(messages, sample, temperature)
        if stored is None:
            raise Stopping
        self.replies += 1
        return stored.reply
