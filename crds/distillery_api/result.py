"""What a stage reports: written by the trainer as a file and a termination message, read by the operator."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.model import Record

TERMINATION_MESSAGE_LIMIT = 2048
"""Bytes. The kubelet cuts 12 KiB that all containers of a Pod share."""


class Stage(StrEnum):
    """The stages that run as Jobs, in order."""

    GENERATE = "generate"
    TRAIN = "train"
    EVALUATE = "evaluate"


class ExitCode:
    """How a stage ends, as the Job's podFailurePolicy reads it. Anything else is a crash."""

    DONE = 0
    USER_ERROR = 2
    TRY_LATER = 3
    TERMINATED = 143


class Reason(StrEnum):
    """Every reason that a condition or a stage's result can give."""

    # Reconciling
    QUEUED = "Queued"
    GENERATING_DATA = "GeneratingData"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    ROLLING_OUT = "RollingOut"
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    UNSCHEDULABLE = "Unschedulable"
    # Stalled
    INVALID_SPEC = "InvalidSpec"
    INVALID_DATA = "InvalidData"
    INVALID_MODEL = "InvalidModel"
    TEACHER_UNREACHABLE = "TeacherUnreachable"
    TEACHER_REJECTED = "TeacherRejected"
    TOO_FEW_ROWS = "TooFewRows"
    BUDGET_EXCEEDED = "BudgetExceeded"
    GENERATION_FAILED = "GenerationFailed"
    TRAINING_FAILED = "TrainingFailed"
    EVALUATION_FAILED = "EvaluationFailed"
    STORAGE_FULL = "StorageFull"
    OUT_OF_MEMORY = "OutOfMemory"
    ROLLOUT_FAILED = "RolloutFailed"
    NAME_CONFLICT = "NameConflict"
    # What befell a Pod
    IMAGE_PULL_ERROR = "ImagePullError"
    CONFIGURATION_MISSING = "ConfigurationMissing"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    WORKSPACE_LOST = "WorkspaceLost"
    CONTAINER_OOM_KILLED = "ContainerOOMKilled"
    POD_EVICTED = "PodEvicted"
    POD_REFUSED = "PodRefused"
    # Good
    SUCCEEDED = "Succeeded"
    SERVING = "Serving"
    NOT_STARTED = "NotStarted"
    SUSPENDED = "Suspended"
    TERMINATED = "Terminated"


FAILURE_REASONS = {
    Stage.GENERATE: Reason.GENERATION_FAILED,
    Stage.TRAIN: Reason.TRAINING_FAILED,
    Stage.EVALUATE: Reason.EVALUATION_FAILED,
}
"""The reason of a stage's failure that has none of its own."""


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


class Usage(Record):
    """What teacher calls used."""

    requests: int = 0
    """HTTP requests that got an answer of any kind."""
    input_tokens: int = 0
    """Tokens read by the teacher."""
    output_tokens: int = 0
    """Tokens written by the teacher."""
    cached_input_tokens: int = 0
    """The part of inputTokens that the server had in its cache."""
    reasoning_tokens: int = 0
    """The part of outputTokens that were thoughts."""
    uncounted_replies: int = 0
    """Replies whose tokens the server did not count; they are estimated."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """The currency of cost; absent where the teacher has no pricing."""
    cost: float | None = None
    """Money for all calls, those included that failed and may have been charged."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            uncounted_replies=self.uncounted_replies + other.uncounted_replies,
            currency=self.currency or other.currency,
            cost=other.cost if self.cost is None else round(self.cost + (other.cost or 0.0), 6),
        )


class Estimate(Record):
    """What the calls of teacher and judge will come to, said before the first one."""

    rows: int
    """Rows that are put to the teacher."""
    requests: int
    """Requests for them; fewer where rows are the same or replies are in the workspace already."""
    input_tokens: int
    """Tokens that they will read."""
    output_tokens: int
    """Tokens that they will write."""
    low_tokens: int
    """Tokens, read and written, that they will hardly stay below."""
    high_tokens: int
    """Tokens, read and written, that they will hardly exceed: after a pilot the upper end of the 90 % interval, else
    all replies at their longest."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """The currency of the costs; absent where the teacher has no pricing."""
    cost: float | None = None
    """Money for the tokens."""
    low_cost: float | None = None
    """Money that they will hardly stay below."""
    high_cost: float | None = None
    """Money that they will hardly exceed."""
    pilot_rows: int = 0
    """Rows that were asked for real to find this out."""
    basis: Annotated[str, Field(max_length=512)] = ""
    """Where the numbers come from."""

    def sentence(self) -> str:
        """The estimate in words, such as `6 requests; 900 tokens read, 30 written (870 to 1,700); 0.02 USD (…)`."""
        tokens = (
            f"{self.requests:,} requests; {self.input_tokens:,} tokens read and {self.output_tokens:,} written"
            f" ({self.low_tokens:,} to {self.high_tokens:,} together)"
        )
        if self.cost is None:
            return tokens
        bounds = f"{money(self.low_cost or 0)} to {money(self.high_cost or 0)}"
        return f"{tokens}; {money(self.cost)} {self.currency} ({bounds})"


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


class Score(Record):
    """How one contestant did on the held-out rows. Shares are between 0 and 1."""

    score: float
    """Mean over the rows of what the table's metric gives; a missing or unreadable answer counts as 0."""
    low: float | None = None
    """Lower end of the 95 % interval of the score: Wilson's for a share of right answers, else a bootstrap."""
    high: float | None = None
    """Upper end of the 95 % interval of the score."""
    macro_f1: float | None = None
    """Mean F1 over the labels, where all rows have the same ones."""
    strict: float | None = None
    """Share of rows whose whole reply is exactly the right answer."""
    unreadable: float | None = None
    """Share of rows without a readable answer."""
    rouge1: float | None = None
    """Mean ROUGE-1 (F1) of summaries and conversations."""
    rouge2: float | None = None
    """Mean ROUGE-2 (F1) of summaries and conversations."""
    words: float | None = None
    """Mean length of the readable summaries and conversations, in words."""
    entity_density: float | None = None
    """Mean of named entities a token in the summaries; absent without a model that finds entities."""
    faithfulness: float | None = None
    """Mean share of a summary's entities and numbers that its source names, too."""
    invented_numbers: float | None = None
    """Share of the summaries that name a number which is not in their source."""
    win_rate: float | None = None
    """How often the judge finds the answer better than the known one, asked in both orders; a tie is half a win."""
    perplexity: float | None = None
    """How surprised the model is by the teacher's replies of a conversation, 1 being not at all."""
    prompt_tokens: float | None = None
    """Mean prompt tokens a call."""
    answer_tokens: float | None = None
    """Mean answer tokens a call."""
    latency_seconds: float | None = None
    """Median seconds a call, one call at a time, on the stated device."""


class Evaluation(Record):
    """The result table. All contestants answered the same rows."""

    metric: Annotated[str, Field(max_length=32)] = "accuracy"
    """What the scores are against gold: accuracy, or rougeL for summaries and conversations; agreement, measured in the
    same way, where the rows have no gold and are compared with the teacher's answers."""
    sample_size: int
    """Held-out rows."""
    carved_from_validation: bool = False
    """Whether the held-out rows were taken from the validation split, because there was no test split."""
    partly_supervised: bool = False
    """Whether training rows were chosen by their gold, so that the student has not learnt from the teacher alone."""
    teacher: Score | None = None
    """The teacher under the elaborate prompt."""
    base_elaborate: Score | None = None
    """The untrained student under the elaborate prompt."""
    base: Score | None = None
    """The untrained student under the short prompt."""
    student: Score | None = None
    """The distilled student under the short prompt."""
    majority: Score | None = None
    """Always the most frequent answer of the training rows, for labels and numbers."""
    shallow: Score | None = None
    """TF-IDF and logistic regression on the same training rows, for labels."""
    lead: Score | None = None
    """The first words of the source, as many as a summary may have."""
    gap_closed: float | None = None
    """(student - baseElaborate) / (teacher - baseElaborate); absent where the teacher is no better."""
    relative_gain: float | None = None
    """student / baseElaborate - 1; absent where baseElaborate is 0."""
    p_value: float | None = None
    """Student against base: McNemar's exact test of right answers, else a paired bootstrap."""
    judge: Annotated[str, Field(max_length=200)] | None = None
    """The model that the win rates come from."""
    device: Annotated[str, Field(max_length=128)] | None = None
    """The device that the latencies were measured on."""

    @property
    def is_prose(self) -> bool:
        """Whether the answers are texts, more or less alike, rather than right or wrong."""
        return self.student is not None and self.student.rouge1 is not None

    def brief(self) -> Evaluation:
        """The table with scores and their intervals alone."""
        brief = {
            name: Score(score=value.score, low=value.low, high=value.high, rouge1=value.rouge1)
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), Score)
        }
        return self.model_copy(update=brief)


class StageState(StrEnum):
    """How a stage ended."""

    DONE = "Done"
    FAILED = "Failed"


class StageResult(Record):
    """The outcome of one stage, `result.json` in its folder."""

    stage: Stage
    """Which stage."""
    folder: str
    """The stage's folder in the workspace."""
    state: StageState
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


def shortened(text: str, limit: int) -> str:
    """`text`, cut to at most `limit` UTF-8 bytes with an ellipsis where it was longer."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def money(amount: float) -> str:
    """An amount with two decimals, small ones with as many as it takes to show two digits."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.{max(2, 1 - math.floor(math.log10(amount)))}f}"
