"""What the operator reports. Written so that `kubectl wait`, kstatus, Argo CD and people read the same truth."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import Record
from distillery_api.evaluation import Evaluation
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, RowCounts, TrainingFigures
from distillery_api.usage import Estimate, Usage

ShortText = Annotated[str, Field(max_length=1024)]


class ConditionType(StrEnum):
    """The kinds of condition."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATA_GENERATED = "DataGenerated"
    TRAINED = "Trained"
    EVALUATED = "Evaluated"
    AVAILABLE = "Available"
    SUSPENDED = "Suspended"


class ConditionStatus(StrEnum):
    """Kubernetes' three truth values."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Record):
    """One fact about the resource, as in Kubernetes' API conventions."""

    type: ConditionType
    """What the fact is about."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(max_length=1024)]
    """One word for programs."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """A sentence for people."""
    last_transition_time: datetime
    """When `status` last changed."""
    observed_generation: int = 0
    """The generation of the spec that this was seen for."""


class StageStatus(Record):
    """One stage of the current inputs."""

    name: Stage
    """generate, train or evaluate."""
    input_hash: ShortText
    """Identity of the stage's inputs; its folder in the workspace is NAME-HASH."""
    job: ShortText | None = None
    """The Job of the last attempt, recorded before it is created."""
    attempts: int = 0
    """Jobs created for these inputs."""
    start_time: datetime | None = None
    """When the first attempt was created."""
    last_attempt_time: datetime | None = None
    """When the last attempt was created."""
    retry_time: datetime | None = None
    """When the next attempt is due, after one that may succeed later."""
    failing_since: datetime | None = None
    """When the first of the attempts that failed in a row ended."""
    blocked_since: datetime | None = None
    """Since when something keeps the attempt's Pod from starting, such as an image or a Secret that is not there."""
    configuration: ShortText | None = None
    """Digest of all that the last attempt was given. A failed stage runs again when a change of the spec changes it."""
    completion_time: datetime | None = None
    """When the stage was done."""
    progress: Progress | None = None
    """How far the running attempt is; at most every 30 seconds."""
    message: ShortText | None = None
    """The stage's own last sentence."""
    reason: ShortText | None = None
    """Why the last attempt failed."""
    rows: RowCounts | None = None
    """Rows read, kept and rejected by reason."""
    usage: Usage | None = None
    """What this stage's teacher calls used."""
    training: TrainingFigures | None = None
    """Losses and steps of the training."""


class ServingStatus(Record):
    """The student as it is served."""

    url: ShortText | None = None
    """Base URL of the OpenAI-compatible API inside the cluster."""
    model: ShortText | None = None
    """The name to ask for in `model`: the Distillation's own."""
    model_path: ShortText | None = None
    """Folder of the served model in the workspace."""
    image: ShortText | None = None
    """The server's container image."""
    replicas: int = 0
    """Pods that exist."""
    ready_replicas: int = 0
    """Pods that answer."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the Pods, for `kubectl scale` and autoscalers."""
    blocked_since: datetime | None = None
    """Since when something keeps a Pod from starting."""
    student_prompt: ShortText | None = None
    """The file in the workspace that holds the student's system prompt."""


class Run(Record):
    """One finished run."""

    completion_time: datetime
    """When its evaluation was done."""
    model_path: ShortText
    """Folder of its model in the workspace."""
    student: float | None = None
    """Score of the student."""
    teacher: float | None = None
    """Score of the teacher."""


class DistillationStatus(Record):
    """What the operator knows."""

    observed_generation: int = -1
    """The generation of the spec that this status is about; -1 before the operator has seen the resource."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra={"x-list-key": "type"})] = ()
    """Ready, Reconciling, Stalled, DataGenerated, Trained, Evaluated, Available, Suspended."""
    stages: Annotated[tuple[StageStatus, ...], Field(max_length=8, json_schema_extra={"x-list-key": "name"})] = ()
    """The stages of the current inputs."""
    progress: Annotated[str, Field(max_length=64)] | None = None
    """Where it stands, for people: the running stage and its share done."""
    workspace_claim: ShortText | None = None
    """The PersistentVolumeClaim that holds the workspace."""
    usage: Usage | None = None
    """What all teacher calls of the current inputs used."""
    estimate: Estimate | None = None
    """What the teacher calls of the current inputs were expected to come to, said before the first of them."""
    evaluation: Evaluation | None = None
    """Scores of the last finished evaluation."""
    serving: ServingStatus | None = None
    """The student as it is served, perhaps of an earlier run."""
    history: Annotated[tuple[Run, ...], Field(max_length=5)] = ()
    """The last five finished runs, newest first."""
    last_handled_retry_at: ShortText | None = None
    """The value of the annotation distillery.dev/retry-at that was last acted on."""
