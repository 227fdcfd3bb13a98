"""The students that were made in a folder: `students` of its result.json, so that a run that has none of its own yet
neither hides the one before it nor forgets its scores."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from distillery_api.paths import Artefact
from distillery_operator.local.run_result import RunResult, StudentRecord

MOST = 20
"""Students that are remembered."""


def with_students(result: RunResult, before: RunResult | None) -> RunResult:
    """The result with its own student, if it has one, and those of the result `before` it, the newest first."""
    earlier = [*before.students, *_own(before)] if before else []
    records: dict[str, StudentRecord] = {}
    for record in [*_own(result), *_own(before), *earlier]:
        known = records.get(record.folder)
        if known is None or (known.evaluation is None and record.evaluation is not None):
            records[record.folder] = record
    return result.model_copy(update={"students": tuple(records.values())[:MOST]})


def with_a_student(result: RunResult, folder: Path) -> RunResult:
    """The result itself where its run has a student, else that of the last run that made one."""
    if Artefact.MODEL in result.files:
        return result
    there = (record for record in result.students if (folder / record.files.get(Artefact.MODEL, "none")).is_dir())
    record = next(there, None)
    if record is None:
        return result
    figures = {name: getattr(record, name) for name in ("training", "evaluation", "verification", "files")}
    return result.model_copy(update=figures)


def _own(result: RunResult | None) -> list[StudentRecord]:
    model = result.files.get(Artefact.MODEL) if result else None
    if result is None or model is None:
        return []
    return [
        StudentRecord(
            folder=PurePosixPath(model).parent.name,
            completion_time=result.completion_time,
            training=result.training,
            evaluation=result.evaluation,
            verification=result.verification,
            files=result.files,
        )
    ]
