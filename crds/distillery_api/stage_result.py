"""What a stage writes when it ends: `result.json` in its folder and the termination message of its Pod."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import Record
from distillery_api.evaluation import Evaluation
from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.usage import Estimate, Usage

TERMINATION_MESSAGE_LIMIT = 2048
"""Bytes. The kubelet cuts 12 KiB that all containers of a Pod share."""


class Progress(Record):
    """How far a stage is."""

    done: int
    """Units done."""
    total: int
    """Units in all; 0 while not known."""
    unit: Annotated[str, Field(max_length=32)] = "rows"
    """What is counted, such as rows or steps."""
    eta_seconds: int | None = None
    """Estimated seconds until the stage is done."""


class RowCounts(Record):
    """Where the rows went: read = kept + rejected."""

    read: int = 0
    """Rows read."""
    kept: int = 0
    """Rows kept."""
    rejected: int = 0
    """Rows rejected, each with a reason."""
    rejected_by_reason: Annotated[dict[str, int], Field(max_length=64)] = {}
    """Rejected rows by reason."""


class TrainingFigures(Record):
    """What the training came to."""

    steps: int
    """Optimiser steps."""
    train_loss: float
    """Mean loss over the training rows' answers."""
    validation_loss: float
    """Loss of the kept checkpoint over the validation rows' answers."""
    trainable_parameters: int
    """Weights that were trained."""
    device: Annotated[str, Field(max_length=128)]
    """The device, such as cpu or cuda."""
    precision: Annotated[str, Field(max_length=16)] = "float32"
    """Arithmetic, such as bfloat16."""
    seconds: float
    """Wall time of the training loop, in seconds."""


class StageOutcome(StrEnum):
    """How a stage ended."""

    DONE = "Done"
    FAILED = "Failed"


class StageResult(Record):
    """The outcome of one stage, `result.json` in its folder."""

    stage: Stage
    """Which stage."""
    folder: str
    """The stage's folder in the workspace."""
    state: StageOutcome
    """Done or Failed."""
    exit_code: int = 0
    """The process's exit code."""
    reason: Reason = Reason.SUCCEEDED
    """Why it failed."""
    message: str = ""
    """A sentence for people."""
    start_time: datetime | None = None
    """When the attempt began."""
    completion_time: datetime | None = None
    """When it ended."""
    rows: RowCounts | None = None
    """Rows over all splits (generate), or rows offered to the training (train)."""
    splits: dict[str, RowCounts] = {}
    """Rows by split."""
    usage: Usage | None = None
    """What the teacher calls used (generate)."""
    estimate: Estimate | None = None
    """What they were expected to use (generate)."""
    training: TrainingFigures | None = None
    """What the training came to (train)."""
    evaluation: Evaluation | None = None
    """The result table (evaluate)."""
    files: dict[str, str] = {}
    """Paths of artefacts relative to the workspace, by name."""

    def termination_message(self) -> str:
        """The result as JSON of at most 2 KiB: the message is shortened first, then details are left out."""
        short = self.model_copy(update={"splits": {}})
        left_out: tuple[dict[str, object], ...] = (
            {"message": shortened(self.message, 600)},
            {"message": shortened(self.message, 240)},
            {"files": {}},
            {"estimate": None},
            {"rows": None},
            {"evaluation": self.evaluation.brief() if self.evaluation else None},
            {"evaluation": None},
        )
        for leave_out in left_out:
            short = short.model_copy(update=leave_out)
            text = short.model_dump_json(by_alias=True, exclude_none=True)
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        raise ValueError("a stage's result is too long for a termination message even without its details")
