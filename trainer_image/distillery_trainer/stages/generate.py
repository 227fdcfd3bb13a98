"""The first stage: every row is put to the teacher, its reply read, and kept or rejected with a reason.

All rows are checked before the first paid call, and what the run will cost is estimated. Replies are in the journal as
soon as they are there: whatever ends the stage, the next attempt asks only what was in flight.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.stop_signals import StopRequest, stop_on_signals
from distillery_api.spec import Task
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.workspace_lock import locked_workspace
from distillery_trainer.estimate import from_prompts
from distillery_trainer.filters.llm_judge import PARAMETERS, AnswerJudge
from distillery_trainer.filters.row_counts import RowCounter
from distillery_trainer.generation.dataset_card import write_card
from distillery_trainer.generation.outputs import Outputs
from distillery_trainer.generation.preflight import PreparedData, prepare
from distillery_trainer.generation.row_pipeline import RowPipeline
from distillery_trainer.generation.workers import Workers
from distillery_trainer.runtime.errors import PartialResult, StageError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import TaskDefinition, task_for

MIN_ROWS = {Task.MATH: 40}
"""Fewest rows that a split must keep, by task, where generation.minRows does not say."""
USUAL_MIN_ROWS = 65


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Generate the rows of a run. Raises StageError, with what was kept, where it cannot be finished."""
    task = task_for(config)
    data = prepare(config, task)
    tallies = _row_counters(config, data)
    expected = from_prompts(data.sampler.expected(data.asked), config.generation.pricings)
    progress.estimated(expected)
    with locked_workspace(config.paths, config.folder), ReplyJournal.for_run(config) as journal:
        sys.stderr.write(
            f"{data.rows:,} rows to answer; {len(journal):,} replies are in the workspace already."
            f" Expected: {expected.sentence()}.\n"
        )
        # An event loop does not stand a signal that raises where it is, nor do files of which half are published.
        with stop_on_signals() as told:
            result = asyncio.run(_generate(config, task, data, tallies, journal=journal, progress=progress, told=told))
    result = result.model_copy(update={"estimate": expected})
    card = write_card(config.stage_folder, config, task, result)
    return result.model_copy(update={"files": {**result.files, Artefact.CARD: config.paths.relative(card)}})


def _row_counters(config: RunConfig, data: PreparedData) -> dict[str, RowCounter]:
    """A count for each split. Raises UserError where a split has too few rows to begin with."""
    min_rows = config.generation.min_rows or MIN_ROWS.get(config.task, USUAL_MIN_ROWS)
    tallies = {}
    for split, rows in data.counts.items():
        passed_over = data.passed_over.get(split, Counter())
        if split == "test":
            tallies[split] = RowCounter(split, rows + passed_over.total(), 0, 0)
            continue
        not_asked = passed_over + data.screening.rejected.get(split, Counter())
        tallies[split] = RowCounter(
            split, rows + passed_over.total(), config.generation.min_success_ratio, min_rows, not_asked
        )
    return tallies


async def _generate(
    config: RunConfig,
    task: TaskDefinition,
    data: PreparedData,
    tallies: dict[str, RowCounter],
    *,
    journal: ReplyJournal,
    progress: ProgressReporter,
    told: StopRequest,
) -> StageResult:
    teacher = ChatClient.for_run(config, task.request_parameters(), journal, progress)
    judge = config.generation.judge
    asked_judge = teacher.for_judge(judge, PARAMETERS) if judge else None
    outputs = Outputs(config.stage_folder, config.paths)
    window = Workers(
        config,
        task,
        data,
        tallies=tallies,
        pipeline=RowPipeline(config, task, teacher, AnswerJudge(task, asked_judge) if asked_judge else None),
        teacher=teacher,
        journal=journal,
        outputs=outputs,
        progress=progress,
    )
    try:
        try:
            await window.run(told)
        finally:
            for asked in filter(None, (teacher, asked_judge)):
                await asked.close()
        return _result(config, window, outputs.publish(data.student_prompt), journal)
    except StageError as error:
        files = outputs.publish(data.student_prompt) if error.reason is not Reason.STORAGE_FULL else {}
        error.kept = PartialResult(window.counts(), window.split_counts(), journal.usage, files)
        raise
    finally:
        outputs.drop()


def _result(config: RunConfig, window: Workers, files: dict[str, str], journal: ReplyJournal) -> StageResult:
    kept = " and ".join(
        f"{tally.kept:,} of {tally.rows:,} {tally.split} rows"
        for tally in window.tallies.values()
        if tally.split != "test"
    )
    return StageResult(
        stage=config.stage,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=f"Kept {kept}; {window.tallies['test'].rows:,} rows are held out.",
        rows=window.counts(),
        splits=window.split_counts(),
        usage=journal.usage,
        files=files,
    )
