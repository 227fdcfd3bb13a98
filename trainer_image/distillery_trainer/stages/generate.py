"""The first stage: every row is sent to the teacher, its reply is read, and the row is kept or rejected with a reason.

Student and rows are checked and the cost is estimated before the first request. Replies are in the journal as soon as
they arrive: however the stage ends, the next attempt asks only for what was in flight.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.stop_signals import StopRequest, stop_on_signals
from distillery_api.stage_result import RowCounts, StageOutcome, StageResult
from distillery_api.training_memory import TrainingMemory
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.workspace_lock import locked_workspace
from distillery_trainer.estimate import from_prompts
from distillery_trainer.filters.few_rows import few_rows_note
from distillery_trainer.filters.row_counts import RowCounter, by_split, total
from distillery_trainer.generation.dataset_card import write_card
from distillery_trainer.generation.logprobs_preflight import check_logprobs
from distillery_trainer.generation.memory_check import expected_memory, refuse_what_cannot_fit, row_lengths
from distillery_trainer.generation.model_clients import open_clients
from distillery_trainer.generation.outputs import Outputs
from distillery_trainer.generation.preflight import PreparedData, row_counters, run_preflight
from distillery_trainer.generation.rejected_rows import RejectedRows
from distillery_trainer.generation.rows_revision import rows_revision
from distillery_trainer.generation.shortest_row import check_shortest_row
from distillery_trainer.generation.stored_rows import stored_rows
from distillery_trainer.generation.student_check import check_student
from distillery_trainer.generation.workers import Workers
from distillery_trainer.runtime.errors import PartialResult, StageError, UserError
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.student.checked_student import CheckedStudent
from distillery_trainer.tasks import TaskDefinition, task_for
from distillery_trainer.tracking.requirements import check_tracking


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Generate the rows of a run. Raises StageError, with the partial result, if the stage cannot finish."""
    check_tracking(config)
    student = check_student(config)
    if isinstance(student, str):
        sys.stderr.write(f"The student is not checked before the teacher is asked: {student}\n")
    task = task_for(config)
    data = run_preflight(config, task)
    _check_pictures(config, student, data)
    check_shortest_row(config, task, student, data.shortest_row)
    memory = _training_memory(config, student, data)
    counters = row_counters(config, data)
    if note := few_rows_note(data.rows_to_send_by_split):
        sys.stderr.write(f"{note}\n")
    # A signal handler that raises would break an event loop, and leave half of the files published.
    with (
        locked_workspace(config.paths, config.folder),
        ReplyJournal.for_run(config) as journal,
        stop_on_signals() as stop,
    ):
        stored = asyncio.run(stored_rows(config, task, data, journal))
        estimate = from_prompts(data.forecast(stored), config.generation.pricings)
        estimate = estimate.model_copy(update={"training_memory": memory})
        progress.estimated(estimate)
        sys.stderr.write(
            f"{data.row_count:,} rows to answer; the workspace already has {len(journal):,} replies."
            f" Estimate: {estimate.sentence()}.\n"
        )
        result = asyncio.run(
            _generate(config, task, data, counters, journal=journal, progress=progress, stop_request=stop)
        )
        used = journal.used
    result = result.model_copy(update={"estimate": estimate, "rows_revision": rows_revision(config.stage_folder)})
    written = {
        Artefact.CARD: write_card(config.stage_folder, config, task, result, used, first_row=data.first_row),
        **_answer_schema(config, task),
    }
    files = {name: config.paths.relative(path) for name, path in written.items()}
    return result.model_copy(update={"files": {**result.files, **files}})


def _check_pictures(config: RunConfig, student: CheckedStudent | str, data: PreparedData) -> None:
    """Raises UserError where rows have pictures that the student cannot see."""
    if isinstance(student, str) or student.pictures_problem is None or not data.sampler.sees_pictures:
        return
    raise UserError(
        f"student.model.uri: {config.student.model.uri} cannot learn from the rows, which have pictures."
        f" {student.pictures_problem}",
        reason=Reason.INVALID_MODEL,
    )


def _training_memory(config: RunConfig, student: CheckedStudent | str, data: PreparedData) -> TrainingMemory | None:
    """What the training will take; None where it is unknown. Raises UserError where it cannot fit."""
    if isinstance(student, str):
        return None
    lengths = row_lengths(data)
    refuse_what_cannot_fit(config, student, lengths)
    memory = expected_memory(config, student, lengths)
    if memory:
        sys.stderr.write(f"The training will need {memory.sentence()}.\n")
    return memory


def _answer_schema(config: RunConfig, task: TaskDefinition) -> dict[Artefact, Path]:
    """Write the schema of the answers, which later stages and clients of the student need. Returns its file."""
    if task.object_schema is None:
        return {}
    path = config.stage_folder.answer_schema
    write_atomically(path, json.dumps(task.object_schema, ensure_ascii=False, indent=2).encode())
    return {Artefact.ANSWER_SCHEMA: path}


async def _generate(
    config: RunConfig,
    task: TaskDefinition,
    data: PreparedData,
    counters: Mapping[str, RowCounter],
    *,
    journal: ReplyJournal,
    progress: ProgressReporter,
    stop_request: StopRequest,
) -> StageResult:
    async with open_clients(config, task, journal, progress) as clients:
        outputs = Outputs(config.stage_folder, config.paths)
        workers = Workers(
            config,
            task,
            data,
            counters=counters,
            clients=clients,
            journal=journal,
            outputs=outputs,
            progress=progress,
        )
        try:
            if clients.scorer:
                await check_logprobs(config, clients.teacher, clients.scorer)
            await workers.run(stop_request)
            files = outputs.publish(data.student_prompt)
            result = _result(config, counters, files, journal, workers.rejected)
            if clients.scorer:
                result = result.model_copy(update={"message": f"{result.message} {clients.scorer.summary()}"})
            return result
        except StageError as error:
            files = outputs.publish(data.student_prompt) if error.reason is not Reason.STORAGE_FULL else {}
            error.partial_result = PartialResult(total(counters.values()), by_split(counters), journal.usage, files)
            raise
        finally:
            outputs.discard()


def _result(
    config: RunConfig,
    counters: Mapping[str, RowCounter],
    files: dict[str, str],
    journal: ReplyJournal,
    rejected: RejectedRows,
) -> StageResult:
    kept = " and ".join(
        f"{counter.kept:,} of {counter.rows:,} {split} rows" for split, counter in counters.items() if split != "test"
    )
    rows = total(counters.values())
    note = few_rows_note({split: counter.kept for split, counter in counters.items()})
    return StageResult(
        stage=config.stage,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=f"Kept {kept}; {counters['test'].rows:,} rows are held out.{_retried(rejected)}{_again(rows)}"
        f"{' ' if note else ''}{note}",
        retried=config.retry_rejected.request if config.retry_rejected else None,
        rows=rows,
        splits=by_split(counters),
        usage=journal.usage,
        files=files,
    )


def _retried(rejected: RejectedRows) -> str:
    """What came of the rejected rows that were asked again."""
    if not rejected.repeated:
        return ""
    return f" {rejected.repeated:,} rejected rows were asked again: {rejected.kept:,} of them are kept now."


def _again(rows: RowCounts) -> str:
    """What to know about rows that may be answered later."""
    if not rows.transient_failures:
        return ""
    return f" {rows.transient_failures:,} rows failed for a cause that may pass; another run asks them again."
