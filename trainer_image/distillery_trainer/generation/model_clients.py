"""The chat clients of a run: the teacher's, and the judge's if the run has one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from distillery_api.run_config import RunConfig
from distillery_api.spec import ObjectiveKind
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.request_parameters import scoring_parameters, with_logprobs
from distillery_trainer.filters.llm_judge import PARAMETERS
from distillery_trainer.generation.answer_logprobs import AnswerScorer
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import TaskDefinition


@dataclass(frozen=True)
class ModelClients:
    """Chat clients that share one journal and one budget."""

    teacher: ChatClient
    judge: ChatClient | None
    """The LLM judge of answers; None if the run has none."""
    scorer: AnswerScorer | None = None
    """Finds the log-probabilities of answers; None if the run wants none."""


def requested_beside(config: RunConfig) -> dict[str, Any]:
    """What the requests to the teacher ask for beside its replies: log-probabilities, where the student learns them."""
    objective = config.training.objective
    return with_logprobs(objective.logits.top_logprobs) if objective.kind is ObjectiveKind.LOGITS else {}


@contextlib.asynccontextmanager
async def open_clients(
    config: RunConfig, task: TaskDefinition, journal: ReplyJournal, progress: ProgressReporter
) -> AsyncIterator[ModelClients]:
    """The clients, whose connections are closed at the end. Raises UserError if an API key is missing."""
    logits = config.training.objective.logits if config.training.objective.kind is ObjectiveKind.LOGITS else None
    teacher = ChatClient.for_run(config, task.request_parameters(), journal, progress, requested_beside(config))
    judge = config.generation.judge
    clients = ModelClients(
        teacher,
        teacher.for_judge(judge, PARAMETERS) if judge else None,
        _scorer(task, teacher, logits.top_logprobs) if logits else None,
    )
    try:
        yield clients
    finally:
        for client in filter(None, (clients.teacher, clients.judge)):
            await client.close()
        if clients.scorer:
            await clients.scorer.close()


def _scorer(task: TaskDefinition, teacher: ChatClient, most: int) -> AnswerScorer:
    again = teacher.with_parameters(task.request_parameters() | with_logprobs(most))
    return AnswerScorer(task, again, teacher.with_parameters(scoring_parameters(most)))
