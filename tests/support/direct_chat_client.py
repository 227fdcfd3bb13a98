"""A chat client that is called directly, without a stage around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.budget import BudgetExhausted
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.data.rows import Message
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import task_for


def prompt_about(number: int) -> list[Message]:
    """A prompt about its number."""
    text = f"Premise: Person {number} reads and writes.\nHypothesis: Person {number} reads."
    return [{"role": "system", "content": "Answer with a label."}, {"role": "user", "content": text}]


def run_config(
    root: Path,
    *urls: str,
    teacher: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> RunConfig:
    """The config of a generate stage whose teacher is at some addresses."""
    servers = {"endpoint": urls[0]} if len(urls) == 1 else {"servers": [{"url": url} for url in urls]}
    return RunConfig.model_validate(
        {
            "stage": "generate",
            "name": "test",
            "folder": "generate-0123456789",
            "workspace": str(root / "workspace"),
            "task": "NLI",
            "labels": ["entailment", "neutral", "contradiction"],
            "data": {split: {"uri": f"{split}.jsonl"} for split in ("train", "validation")},
            "generation": {
                "teachers": [{"name": "tester", "model": "teacher", **servers, **(teacher or {})}],
                "concurrency": 8,
                **(generation or {}),
            },
            "student": {"model": {"uri": "model"}},
            "training": {},
            "requestTimeoutSeconds": 20,
            **(config or {}),
        }
    )


@contextlib.asynccontextmanager
async def chat_client(
    config: RunConfig, *, patience: float | None = None
) -> AsyncIterator[tuple[ChatClient, ReplyJournal]]:
    """The client of a teacher, and its reply journal; `patience` in seconds."""
    with ReplyJournal.for_run(config) as journal:
        client = ChatClient.for_run(
            config, task_for(config).request_parameters(), journal, ProgressReporter(config.stage)
        )
        if patience is not None:
            client.retries.patience = patience
        try:
            yield client, journal
        finally:
            await client.close()


async def ask_all(client: ChatClient, prompts: Sequence[list[Message]]) -> list[Reply | Failure | BaseException]:
    """The outcome of each prompt, sent all at the same time."""
    return await asyncio.gather(*(client.ask(each) for each in prompts), return_exceptions=True)


__all__ = ["BudgetExhausted", "Failure", "Reply", "ask_all", "chat_client", "prompt_about", "run_config"]
