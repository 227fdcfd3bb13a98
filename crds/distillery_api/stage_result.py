"""What a stage writes when it ends: `result.json` in its folder and the termination message of its Pod."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from distillery_api.base import LenientModel
from distillery_api.evaluation import Evaluation
from distillery_api.formatting import shortened, without_hidden_characters
from distillery_api.reasons import Reason
from distillery_api.search_figures import SearchFigures
from distillery_api.stage import Stage
from distillery_api.usage import Estimate, Usage
from distillery_api.verification import Verification

TERMINATION_MESSAGE_LIMIT = 2048
"""Bytes. The kubelet truncates the messages of all containers of a Pod to 12 KiB in total."""


class Progress(LenientModel):
    """Progress of a stage."""

    done: int
    """Number of units done."""
    total: int
    """Total number of units; 0 while unknown."""
    unit: Annotated[str, Field(max_length=32)] = "rows"
    """Unit, such as rows or steps."""
    eta_seconds: int | None = None
    """Estimated time until the stage is done, in seconds."""


class RowCounts(LenientModel):
    """Number of rows: read = kept + rejected."""

    read: int = 0
    """Number of rows read."""
    kept: int = 0
    """Number of kept rows: those that the student learns from; of the test split, all held-out rows."""
    rejected: int = 0
    """Number of rejected rows."""
    rejected_by_reason: Annotated[dict[str, int], Field(max_length=64)] = {}
    """Number of rejected rows by rejection reason."""
    transient_failures: int = 0
    """Number of rows without an answer for a cause that may pass, such as HTTP 500 or a timeout. The next local run, or
    the annotation distillery.dev/retry-at, asks them again."""


class EpochLosses(LenientModel):
    """Mean losses on the answers, in nats per token."""

    train: float
    """Of the train rows, while the epoch went over them."""
    validation: float
    """Of the validation rows, after the epoch."""
    score: float | None = None
    """The task's score of the student's answers to validation rows, after the epoch; absent where answers are long."""


class TrainingSettings(LenientModel):
    """What the training was done with: the manifest's values, and those that were chosen where it left them out."""

    method: Annotated[str, Field(max_length=16)] | None = None
    """Which weights were trained, such as LoRA; absent of a training by release 0.1.0."""
    epochs: int
    """Number of passes over the train rows, unless the training ended sooner."""
    epochs_without_gain: int | None = None
    """Number of epochs in a row without gain that end the training; absent if none do."""
    batch_size: int
    """Training batch size."""
    learning_rate: float
    """Peak learning rate."""
    rank: int | None = None
    """Rank of the adapters; absent where all weights were trained."""
    alpha: int | None = None
    """Scaling numerator of the adapters."""

    def sentence(self) -> str:
        """The settings for people, such as `LoRA rank 16, alpha 32, learning rate 0.001, batch size 4, 5 epochs`."""
        adapters = f"{self.method or 'LoRA'} rank {self.rank}, alpha {self.alpha}"
        method = adapters if self.rank else "all weights"
        epochs = f"{self.epochs} {'epoch' if self.epochs == 1 else 'epochs'}"
        end = f" at most, until {self.epochs_without_gain} in a row gain nothing" if self.epochs_without_gain else ""
        return f"{method}, learning rate {self.learning_rate:g}, batch size {self.batch_size}, {epochs}{end}"


_BROUGHT = {
    "split": "rows whose samples disagree",
    "rationales": "rationales",
    "noRationale": "rows without reasoning",
    "longRationale": "rationales beyond training.maxLength",
    "untrainableRationale": "untrainable rationales",
    "pairs": "pairs of a right and a rejected answer",
    "untrainablePairs": "untrainable pairs",
    "logprobs": "rows with log-probabilities",
    "withoutLogprobs": "rows without log-probabilities",
}


class ObjectiveFigures(LenientModel):
    """What the student learned from the rows."""

    kind: Annotated[str, Field(max_length=32)]
    """Kind of the objective, such as Labels."""
    rows: Annotated[dict[str, int], Field(max_length=16)] = {}
    """Number of train rows by what they brought beside one answer: split (the samples disagreed), rationales,
    noRationale, longRationale (longer than training.maxLength), untrainableRationale. Also pairs and untrainablePairs:
    numbers of right answers before wrong ones."""
    note: Annotated[str, Field(max_length=300)] = ""
    """What came of it, as a sentence; empty where there is nothing more to say."""

    def sentence(self) -> str:
        """What rows brought, such as `Objective Labels: 78 rationales, 2 rows without reasoning.`, and what came of it;
        empty where they brought their answers alone."""
        brought = ", ".join(f"{number:,} {_BROUGHT.get(name, name)}" for name, number in self.rows.items())
        said = f"Objective {self.kind}: {brought}." if brought else ""
        return " ".join(filter(None, (said, self.note)))


class TrainingFigures(LenientModel):
    """Figures of the training."""

    steps: int
    """Number of optimiser steps."""
    planned_steps: int | None = None
    """Number of steps of all epochs, where the training ended sooner because `maxDuration` was over."""
    train_loss: float
    """Mean loss on the answers of the train rows."""
    validation_loss: float
    """Loss of the best checkpoint on the answers of the validation rows."""
    validation_score: float | None = None
    """The task's score of the best checkpoint on validation rows, from 0 to 1, by which it was chosen; absent where it
    was chosen by its loss, as with long answers."""
    settings: TrainingSettings | None = None
    """What the training was done with."""
    objective: ObjectiveFigures | None = None
    """What the student learned from the rows."""
    trainable_parameters: int
    """Number of trained parameters."""
    device: Annotated[str, Field(max_length=128)]
    """Device, such as cpu or cuda."""
    precision: Annotated[str, Field(max_length=16)] = "float32"
    """Floating-point precision, such as bfloat16."""
    seconds: float
    """Wall-clock time of the training, in seconds."""
    model_digest: Annotated[str, Field(max_length=80)] | None = None
    """SHA-256 over the names and contents of the model's files, such as sha256:9f86…"""
    losses: Annotated[tuple[EpochLosses, ...], Field(max_length=100)] = ()
    """Losses by epoch, in order; absent where they are too many for the report of the stage."""

    search: SearchFigures | None = None
    """What the search has tried; absent without one."""

    def brief(self, trials: int = 32) -> TrainingFigures:
        """The figures without the losses by epoch, and with so many trials of a search at most."""
        return self.model_copy(update={"losses": (), "search": self.search.first(trials) if self.search else None})


class StageOutcome(StrEnum):
    """How a stage ended."""

    DONE = "Done"
    FAILED = "Failed"


class StageResult(LenientModel):
    """The result of one stage: `result.json` in its folder."""

    stage: Stage
    """The stage."""
    folder: str
    """The stage's folder in the workspace."""
    state: StageOutcome
    """Done or Failed."""
    exit_code: int = 0
    """Exit code of the process."""
    reason: Reason = Reason.SUCCEEDED
    """Machine-readable reason of a failure."""
    message: Annotated[str, AfterValidator(without_hidden_characters)] = ""
    """Human-readable message. It may quote a server or a file, so control characters are removed."""
    start_time: datetime | None = None
    """Time at which the attempt began."""
    completion_time: datetime | None = None
    """Time at which it ended."""
    progress: Progress | None = None
    """How far a failed attempt got."""
    rows: RowCounts | None = None
    """Number of rows of all splits (generate), or of the rows given to the training (train)."""
    splits: dict[str, RowCounts] = {}
    """Number of rows by split."""
    retried: Annotated[str, Field(max_length=1024)] | None = None
    """The last request to ask rejected rows again that the stage has handled (generate)."""
    rows_revision: str | None = None
    """Digest of the rows, where they are no longer those that the stage first finished with (generate)."""
    usage: Usage | None = None
    """Requests, tokens and cost (generate)."""
    estimate: Estimate | None = None
    """Expected requests, tokens and cost (generate)."""
    training: TrainingFigures | None = None
    """Figures of the training (train)."""
    micro_batches: int | None = None
    """Number of parts of a training batch with which the memory was still exhausted (train)."""
    evaluation: Evaluation | None = None
    """The result table (evaluate)."""
    model_image: str | None = None
    """The student's image in the registry, by its digest (publish)."""
    hub_revision: str | None = None
    """The student's commit on the Hub, as a model's URI: hf://ORG/NAME@COMMIT (publish)."""
    verification: Verification | None = None
    """How the served student answered (verify)."""
    files: dict[str, str] = {}
    """Paths of artefacts relative to the workspace, by name."""

    def termination_message(self) -> str:
        """The result as JSON of at most 2 KiB: the message is shortened first, then details are omitted."""
        short = self.model_copy(update={"splits": {}})
        left_out: tuple[dict[str, object], ...] = (
            {"message": shortened(self.message, 600)},
            {"message": shortened(self.message, 240)},
            {"files": {}},
            {"progress": None},
            *self._fewer_training_figures(),
            {"estimate": None},
            {"rows": None},
            {"evaluation": self.evaluation.brief() if self.evaluation else None},
            {"evaluation": self.evaluation.briefest() if self.evaluation else None},
            {"evaluation": None},
        )
        for leave_out in left_out:
            short = short.model_copy(update=leave_out)
            text = short.model_dump_json(by_alias=True, exclude_none=True)
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        raise ValueError("a stage's result is too long for a termination message even without its details")

    def _fewer_training_figures(self) -> Iterator[dict[str, object]]:
        """The losses by epoch go first, then the worse trials of a search."""
        for trials in (32, 12, 6, 3):
            yield {"training": self.training.brief(trials) if self.training else None}
