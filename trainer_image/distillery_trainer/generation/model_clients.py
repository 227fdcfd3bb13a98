"""The chat clients of a run: the teacher's, and the judge's if the run has one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.filters.llm_judge import PARAMETERS
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import TaskDefinition


@dataclass(frozen=True)
class ModelClients:
    """Chat clients that share one journal and one budget."""

    teacher: ChatClient
    judge: ChatClient | None
    """The LLM judge of answers; None if the run has none."""


@contextlib.asynccontextmanager
async def open_clients(
    config: RunConfig, task: TaskDefinition, journal: ReplyJournal, progress: ProgressReporter
) -> AsyncIterator[ModelClients]:
    """The clients, whose connections are closed at the end. Raises UserError if an API key is missing."""
    teacher = ChatClient.for_run(config, task.request_parameters(), journal, progress)
    judge = config.generation.judge
    clients = ModelClients(teacher, teacher.for_judge(judge, PARAMETERS) if judge else None)
    try:
        yield clients
    finally:
        for client in filter(None, (clients.teacher, clients.judge)):
            await client.close()
