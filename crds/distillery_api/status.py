"""What the operator reports, in the form that `kubectl wait`, kstatus and Argo CD expect."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import LenientModel
from distillery_api.evaluation import Evaluation
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, RowCounts, TrainingFigures
from distillery_api.usage import Estimate, Usage
from distillery_api.verification import Verification

ShortText = Annotated[str, Field(max_length=1024)]


class ConditionType(StrEnum):
    """Types of conditions."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATA_GENERATED = "DataGenerated"
    TRAINED = "Trained"
    EVALUATED = "Evaluated"
    PUBLISHED = "Published"
    VERIFIED = "Verified"
    AVAILABLE = "Available"
    SUSPENDED = "Suspended"


class ConditionStatus(StrEnum):
    """Status of a condition, as in Kubernetes."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(LenientModel):
    """A condition of the resource, as in the Kubernetes API conventions."""

    type: ConditionType
    """Type of the condition."""
    status: ConditionStatus
    """Status of the condition: True, False or Unknown."""
    reason: Annotated[str, Field(max_length=1024)]
    """Machine-readable reason, in CamelCase."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """Human-readable explanation."""
    last_transition_time: datetime
    """Time of the last change of `status`."""
    observed_generation: int = 0
    """Generation of the spec that the condition was determined for."""


class StageStatus(LenientModel):
    """Status of one stage, for the current inputs."""

    name: Stage
    """Name of the stage: generate, train, evaluate, publish or verify."""
    input_hash: ShortText
    """Hash of the stage's inputs. The stage's folder in the workspace is NAME-HASH."""
    job: ShortText | None = None
    """Name of the Job of the last attempt, recorded before the Job is created."""
    attempts: int = 0
    """Number of Jobs created for these inputs."""
    start_time: datetime | None = None
    """Time at which the first attempt was created."""
    last_attempt_time: datetime | None = None
    """Time at which the last attempt was created."""
    retry_time: datetime | None = None
    """Time of the next attempt, after a failure that a retry may resolve."""
    failing_since: datetime | None = None
    """Time at which the first of the consecutive failed attempts ended."""
    failures: int | None = None
    """Number of consecutive failed attempts that count towards maxAttempts."""
    furthest: Progress | None = None
    """How far the consecutive failed attempts got at most."""
    full_capacity: ShortText | None = None
    """Capacity of the workspace claim when the stage found it full. The stage runs again once it is larger."""
    micro_batches: int | None = None
    """Number of parts in which each batch is processed since the stage ran out of memory. The training batch size, and
    the result up to rounding, stay the same."""
    blocked_since: datetime | None = None
    """Time since which the attempt's Pod cannot start, for example because of a missing image or Secret."""
    unschedulable_since: datetime | None = None
    """Time since which the attempt's Pod finds no room beside the served student."""
    configuration: ShortText | None = None
    """Digest of the configuration of the last attempt. A failed stage runs again when a change of the spec changes
    it."""
    compared_with: ShortText | None = None
    """Hash of the student that was served when the last attempt was created, and that the quality gate compares with
    the new one (evaluate)."""
    retry_rejected: ShortText | None = None
    """Value of the annotation distillery.dev/retry-rejected that the attempt was given: it asks rejected rows again
    (generate)."""
    completion_time: datetime | None = None
    """Time at which the stage completed."""
    progress: Progress | None = None
    """Progress of the running attempt, updated at most every 30 seconds."""
    message: ShortText | None = None
    """Last message of the stage."""
    reason: ShortText | None = None
    """Machine-readable reason why the last attempt failed."""
    rows: RowCounts | None = None
    """Number of rows read, kept and rejected."""
    rows_revision: ShortText | None = None
    """Digest of the rows, where they are no longer those that the stage first completed with: rows were asked again
    after a transient failure. It is part of the input hashes of the later stages (generate)."""
    usage: Usage | None = None
    """Requests, tokens and cost of this stage (generate)."""
    training: TrainingFigures | None = None
    """Losses and steps of the training."""
    model_image: ShortText | None = None
    """The student's image in the registry, by its digest (publish)."""
    hub_revision: ShortText | None = None
    """The student's commit on the Hub: hf://ORG/NAME@COMMIT (publish)."""
    verification: Verification | None = None
    """How the served student answered (verify)."""


class ServingCost(LenientModel):
    """Cost of a thousand calls, in the currency of the teacher's pricing: that of status.evaluation.cost, for the
    student that is served."""

    per_thousand_calls: float
    """Of the student: serving.costPerHour at the measured speed."""
    teacher_per_thousand_calls: float | None = None
    """Of the teacher: the price of its tokens; absent without pricing."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """Currency of the teacher's pricing."""


class Candidate(LenientModel):
    """A server that is being rolled out, while the one before it still answers."""

    train: ShortText | None = None
    """Hash of its run's training."""
    model_path: ShortText | None = None
    """Folder of its model in the workspace."""
    image: ShortText | None = None
    """Container image of its server."""
    ready_replicas: int = 0
    """Number of its ready Pods."""


class RequestCounters(LenientModel):
    """What serving Pods have counted since they started."""

    requests: int = 0
    """Requests that were answered."""
    errors: int = 0
    """Answers with a status of 5xx: the server's own fault."""
    timed: int = 0
    """Requests of which the duration is known."""
    seconds: float = 0.0
    """Their durations."""


class Canary(LenientModel):
    """A candidate that is verified beside the server before it, gets a growing share of the requests, and takes
    over."""

    train: ShortText
    """Hash of its run's training."""
    server: ShortText
    """Digest of its Pod template."""
    step: int
    """Number of its step, from 1; 0 while it starts and is verified, without any request of users."""
    steps: int
    """Number of steps."""
    percent: int
    """Share of the requests that the step asks for, in percent; 100 while it takes over."""
    share: int
    """Share of the requests that it gets at this moment, in percent: by the route's weights, or by its ready Pods."""
    since: datetime | None = None
    """Time since which it has had its share in this step."""
    message: ShortText
    """What it waits for."""
    stable_start: RequestCounters | None = None
    """What the Pods of the server before it had counted when the step began (rollout.analysis)."""
    candidate_start: RequestCounters | None = None
    """What its own Pods had counted then."""
    left_over: ShortText | None = None
    """Value of the annotation distillery.dev/promote when the canary began, which promotes nothing of it."""


class FailedRollout(LenientModel):
    """A rollout that failed and was rolled back. It is not tried again until the spec asks for another server, or the
    annotation distillery.dev/retry-at is set."""

    server: ShortText
    """What was asked for: digest of the evaluation and of the server's identity; of a restart also of that."""
    train: ShortText
    """Hash of its run's training."""
    reason: ShortText
    """Machine-readable reason."""
    message: ShortText
    """Why it failed."""
    time: datetime
    """Time at which it was found to have failed."""


class RouteStatus(LenientModel):
    """The route to the student from outside the cluster."""

    kind: ShortText
    """Kind of the route; its name is that of the Distillation."""
    accepted: bool
    """Whether requests can come this way: every Gateway has accepted the HTTPRoute, or the Ingress has an address."""
    message: ShortText
    """What their controllers say."""


class ServingStatus(LenientModel):
    """The served student: the one that answers, also while another one is being rolled out."""

    url: ShortText | None = None
    """Base URL of the OpenAI-compatible API in the cluster."""
    external_urls: Annotated[tuple[ShortText, ...], Field(alias="externalURLs", max_length=128)] = ()
    """Base URLs of the API for clients outside the cluster, where spec.serving.route makes a route. Of an HTTPRoute,
    they begin with https unless the Gateway's port 80 is named: whether a listener has TLS is not looked up."""
    route: RouteStatus | None = None
    """That route."""
    model: ShortText | None = None
    """Value for `model` in requests: the name of the Distillation."""
    train: ShortText | None = None
    """Hash of the training of the served run, as in history."""
    model_path: ShortText | None = None
    """Folder of the served model in the workspace."""
    model_image: ShortText | None = None
    """The image that the model is served from, by its digest; absent where it is served from the workspace."""
    image: ShortText | None = None
    """Container image of the server."""
    server: ShortText | None = None
    """Digest of the Pod template whose Pods have last replaced all others."""
    replicas: int = 0
    """Number of Pods."""
    ready_replicas: int = 0
    """Number of ready Pods."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the Pods, for `kubectl scale` and autoscalers."""
    blocked_since: datetime | None = None
    """Time since which a Pod cannot start."""
    student_prompt: ShortText | None = None
    """File in the workspace with the student prompt."""
    precision: ShortText | None = None
    """Floating-point precision that the student is served in, such as bfloat16; auto where the server chooses."""
    verification: Verification | None = None
    """How the served student answered rows of the evaluation; absent until it has answered enough of them as there."""
    cost: ServingCost | None = None
    """Cost of a thousand calls; absent without serving.costPerHour, and until the speed is measured."""
    taken_over: bool | None = None
    """True for a student that a release without verification served: it counts as available until it is verified."""
    shared_server: ShortText | None = None
    """Name of the Distillation whose server serves the student, where it has none of its own
    (spec.serving.sharedServer)."""
    guests: Annotated[tuple[ShortText, ...], Field(max_length=32)] = ()
    """Names of the Distillations whose students this server serves as well."""
    candidate: Candidate | None = None
    """The server that is being rolled out, while the one above still answers."""
    canary: Canary | None = None
    """How far the candidate of a canary is."""
    failed_rollout: FailedRollout | None = None
    """The last rollout, where it failed and was rolled back."""


class Refusal(LenientModel):
    """A write that the API server refuses."""

    verb: ShortText
    """Verb of the request, as in a role: create, patch or delete."""
    kind: ShortText
    """Kind of the object. A Pod is created only as a dry run, before anything else is."""
    name: ShortText
    """Name of the object."""
    field: ShortText | None = None
    """The field that is to be changed, where it is not the whole object."""
    reason: ShortText
    """Machine-readable reason: `Queued` where the cause may pass by itself."""
    message: ShortText
    """Message of the API server."""


class RunAdapter(LenientModel):
    """A student as an adapter on a base model (`serving.adapter: LoRA`)."""

    path: ShortText
    """Folder of the adapter in the workspace."""
    base: ShortText
    """Folder of the base model in the workspace."""
    rank: int
    """Rank of the adapter."""


class Run(LenientModel):
    """A finished run."""

    completion_time: datetime
    """Time at which the evaluation completed."""
    generate: ShortText | None = None
    """Hash of the generated rows."""
    train: ShortText | None = None
    """Hash of the training: the run's name, for example in serving.pinnedRun."""
    evaluate: ShortText | None = None
    """Hash of the evaluation."""
    model_path: ShortText
    """Folder of the model in the workspace."""
    adapter: RunAdapter | None = None
    """Its adapter, where it was trained for a server of adapters."""
    evaluation: ShortText | None = None
    """Folder of the evaluation in the workspace."""
    student_prompt: ShortText | None = None
    """File in the workspace with the student prompt."""
    data_card: ShortText | None = None
    """File in the workspace that says what the rows are."""
    model_digest: ShortText | None = None
    """SHA-256 over the names and contents of the model's files."""
    model_image: ShortText | None = None
    """The model's image in the registry, by its digest, once it is published (serving.modelImage)."""
    hub_revision: ShortText | None = None
    """The model's commit on the Hub, hf://ORG/NAME@COMMIT, once it is published (publication.hub)."""
    precision: ShortText | None = None
    """Floating-point precision in which the student was evaluated."""
    student: float | None = None
    """Score of the student."""
    teacher: float | None = None
    """Score of the teacher."""
    base: float | None = None
    """Score of the base model, under the prompt with which it is better."""
    served_time: datetime | None = None
    """Time at which it was last found, once rolled out, to answer as in its evaluation; absent if it never was."""
    verification: Verification | None = None
    """How it answered then."""


class DistillationStatus(LenientModel):
    """Observed state of the Distillation."""

    observed_generation: int = -1
    """Generation of the spec that this status describes; -1 before the operator has observed the resource."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra={"x-list-key": "type"})] = ()
    """Conditions: Ready, Reconciling, Stalled, DataGenerated, Trained, Evaluated, Published (with serving.modelImage or
    publication), Verified, Available, Suspended."""
    stages: Annotated[tuple[StageStatus, ...], Field(max_length=8, json_schema_extra={"x-list-key": "name"})] = ()
    """Status of each stage, for the current inputs."""
    progress: Annotated[str, Field(max_length=64)] | None = None
    """Human-readable progress: the running stage and its completed share."""
    workspace_claim: ShortText | None = None
    """PersistentVolumeClaim of the workspace."""
    workspace_uid: Annotated[ShortText | None, Field(alias="workspaceUID")] = None
    """UID of that claim: finished stages belong to it."""
    prunable_folders: Annotated[tuple[ShortText, ...], Field(max_length=32)] = ()
    """Folders of models that no kept run needs (storage.history): deleted, or to be deleted by the next stage."""
    workspace_capacity: ShortText | None = None
    """Size of its volume."""
    workspace_message: ShortText | None = None
    """What an enlargement of the volume waits for."""
    usage: Usage | None = None
    """Requests, tokens and cost of the generate stage, for the current inputs. Requests to evaluation.judge are not
    included."""
    estimate: Estimate | None = None
    """Expected requests, tokens and cost for the current inputs, as estimated before the first request."""
    evaluation: Evaluation | None = None
    """Result table of the last finished evaluation."""
    serving: ServingStatus | None = None
    """The served student, possibly from an earlier run."""
    refused: Annotated[tuple[Refusal, ...], Field(max_length=8)] = ()
    """Writes that the API server refuses. They are tried again about once a minute, and at once when the spec or the
    annotation distillery.dev/retry-at changes."""
    history: Annotated[tuple[Run, ...], Field(max_length=24)] = ()
    """The last finished runs, newest first, and those that are served."""
    last_handled_retry_at: ShortText | None = None
    """Last handled value of the annotation distillery.dev/retry-at."""
    last_handled_retry_rejected: ShortText | None = None
    """Last handled value of the annotation distillery.dev/retry-rejected."""
