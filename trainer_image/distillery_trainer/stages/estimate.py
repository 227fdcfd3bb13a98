"""`python -m distillery_trainer estimate`: what the generate stage's calls will cost, before the first is paid for."""

from __future__ import annotations

import asyncio

from distillery_api.run_config import RunConfig
from distillery_api.usage import Estimate
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.workspace_lock import locked_workspace
from distillery_trainer.estimate import from_pilot, from_prompts
from distillery_trainer.filters.llm_judge import PARAMETERS
from distillery_trainer.generation.pilot import Pilot, evenly_spaced, usable_share
from distillery_trainer.generation.preflight import PreparedData, prepare
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import TaskDefinition, task_for


def run(config: RunConfig, *, pilot: bool) -> Estimate:
    """What the run's teacher calls will come to. Raises StageError where the rows are bad, or the teacher is."""
    task = task_for(config)
    data = prepare(config, task)
    if pilot:
        return asyncio.run(_with_pilot(config, task, data))
    return from_prompts(data.sampler.expected(data.asked), config.generation.pricings)


async def _with_pilot(config: RunConfig, task: TaskDefinition, data: PreparedData) -> Estimate:
    sampler = data.sampler
    expected = sampler.expected(data.asked)
    with locked_workspace(config.paths, config.folder), ReplyJournal.for_run(config) as journal:
        teacher = ChatClient.for_run(config, task.request_parameters(), journal, ProgressReporter(config.stage))
        judge = teacher.for_judge(config.generation.judge, PARAMETERS) if config.generation.judge else None
        pilot = Pilot(config, task, teacher, judge, sampler)
        try:
            outcomes = await pilot.ask(list(evenly_spaced(data, expected.rows)))
        finally:
            for asked in filter(None, (teacher, judge)):
                await asked.close()
    rows = [outcome.row for outcome in outcomes]
    return from_pilot(expected.noting(usable_share(outcomes)), rows, config.generation.pricings)
