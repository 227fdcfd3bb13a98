"""`python -m distillery_trainer estimate`: what the requests of the generate stage are expected to cost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from distillery_api.run_config import RunConfig
from distillery_api.usage import Estimate
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.workspace_lock import locked_workspace
from distillery_trainer.estimate import from_pilot, from_prompts
from distillery_trainer.generation.logprobs_preflight import check_logprobs
from distillery_trainer.generation.model_clients import open_clients
from distillery_trainer.generation.pilot import Pilot, evenly_spaced, usable_share
from distillery_trainer.generation.preflight import PreparedData, run_preflight
from distillery_trainer.generation.stored_rows import stored_rows
from distillery_trainer.generation.student_check import check_student
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import TaskDefinition, task_for


def run(config: RunConfig, *, pilot: bool, replies: Path | None = None) -> Estimate:
    """The estimate of a run, for which `replies` is the folder of its reply journal, if it has one.

    Raises StageError if rows are invalid or, for a pilot, the student, or if the teacher does not answer the pilot.
    """
    if pilot:
        check_student(config)
    task = task_for(config)
    data = run_preflight(config, task)
    if pilot:
        return asyncio.run(_with_pilot(config, task, data))
    stored = asyncio.run(_stored(config, task, data, replies)) if replies else {}
    return from_prompts(data.forecast(stored), config.generation.pricings)


async def _stored(config: RunConfig, task: TaskDefinition, data: PreparedData, replies: Path) -> dict[str, int]:
    with ReplyJournal(replies, config.folder) as journal:
        return await stored_rows(config, task, data, journal)


async def _with_pilot(config: RunConfig, task: TaskDefinition, data: PreparedData) -> Estimate:
    with locked_workspace(config.paths, config.folder), ReplyJournal.for_run(config) as journal:
        forecast = data.forecast(await stored_rows(config, task, data, journal))
        async with open_clients(config, task, journal, ProgressReporter(config.stage)) as clients:
            if clients.scorer:
                await check_logprobs(config, clients.teacher, clients.scorer)
            pilot = Pilot(config, task, clients, data.sampler)
            outcomes = await pilot.ask(list(evenly_spaced(data, forecast.rows + forecast.stored_rows)))
    rows = [outcome.row for outcome in outcomes]
    return from_pilot(forecast.with_note(usable_share(outcomes)), rows, config.generation.pricings)
