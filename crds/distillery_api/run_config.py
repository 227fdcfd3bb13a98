"""RunConfig: the complete configuration of a stage, written by the planner as run.json and read by the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from distillery_api.base import LenientModel
from distillery_api.paths import StageFolder, Workspace
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import (
    Data,
    EvaluationOptions,
    Generation,
    Hub,
    ModelImage,
    SigningKey,
    Student,
    Task,
    Tracking,
    Training,
)
from distillery_api.stage import Stage
from distillery_api.training_memory import TrainingMachine

WORKSPACE_PATH = "/workspace"
"""Where a stage's Pod mounts the workspace."""

TERMINATION_MESSAGE_PATH = "/dev/termination-log"
"""Where the kubelet reads what a container says at its end."""

REGISTRY_CREDENTIALS_VARIABLE = "DOCKER_CONFIG"
"""Variable with the folder of `config.json`, in which container tools look for credentials of registries (publish)."""

METRICS_PORT = 9090
"""TCP port of a stage's `/metrics` and `/healthz`."""

SERVER_API_KEY_VARIABLE = "DISTILLERY_SERVING_API_KEY"
"""Variable with the key that clients of the student need: of the Transformers server and of verify, which asks it."""

SIGNING_KEY_VARIABLE = "DISTILLERY_SIGNING_KEY"
"""Variable with the private key in PEM that signs the model's files (publish)."""

STUDENT_CREDENTIALS_PREFIX = "DISTILLERY_STUDENT_"
"""Begins the names of variables with the student's credentials where a stage has others of its own: in generate, which
checks the student and reads rows."""

TRACKING_CREDENTIALS_PREFIX = "DISTILLERY_TRACKING_"
"""Begins the names of variables with settings and keys of experiment trackers."""


NODES_VARIABLE = "DISTILLERY_NODES"
"""Variable with the number of Pods that train together, where there are several (train)."""

RENDEZVOUS_VARIABLE = "DISTILLERY_RENDEZVOUS"
"""Variable with HOST:PORT at which the nodes of a training meet: the Pod of number 0 (train on several nodes)."""

RENDEZVOUS_PORT = 29400
"""Its TCP port."""

NODE_NUMBER_VARIABLE = "JOB_COMPLETION_INDEX"
"""Variable with the node's number, from 0, which Kubernetes sets in the Pods of an indexed Job."""

NODE_ADDRESS_VARIABLE = "DISTILLERY_NODE_ADDRESS"
"""Variable with the address at which other nodes reach this one."""

GENERATION_BATCH_ROWS = 256
"""Maximum number of rows that the evaluation lets a model answer at a time."""


def equal_parts(rows: int, at_least: int) -> int | None:
    """The smallest number of equal parts of so many rows, of which there are to be at least `at_least`; None where each
    part would have less than a row."""
    return next((parts for parts in range(at_least, rows + 1) if rows % parts == 0), None)


class ServingStudent(LenientModel):
    """The student of an earlier run, which is served while a new one is made."""

    hash: str
    """Input hash of its train stage."""
    folders: dict[Stage, str]
    """Folders of its stages in the workspace: train, generate and, where it is known, evaluate."""


class RetryRejected(LenientModel):
    """A request to ask rows again that were rejected for a reason that may pass. Their stored replies are used no
    more."""

    request: Annotated[str, Field(max_length=1024)]
    """Tells this request from others: no reply is discarded for it twice, however often the stage is interrupted."""
    reasons: Annotated[tuple[RejectionReason, ...], Field(max_length=64)] = ()
    """The rejection reasons; empty for all that may pass."""

    def concerns(self, reason: RejectionReason) -> bool:
        """Whether rows with this rejection reason are asked again."""
        return reason.may_pass and (not self.reasons or reason in self.reasons)


class RunConfig(LenientModel):
    """Configuration of one stage of one run. It contains no secrets, only names of environment variables with API
    keys."""

    stage: Stage
    """The stage to run."""
    name: str
    """Name of the Distillation."""
    folder: str
    """The stage's folder in the workspace, `<stage>-<hash>`."""
    inputs: dict[Stage, str] = {}
    """Folders of the previous stages, by stage."""
    prune: tuple[Annotated[str, Field(pattern=r"^(base|generate|train|evaluate|publish|verify)-[-a-z0-9]+$")], ...] = ()
    """Folders of stages, and of kept base models, of this Distillation's that no kept run needs, to delete before the
    stage starts."""
    workspace: str = WORKSPACE_PATH
    """Path of the workspace."""
    mounts: dict[str, str] = {}
    """Mount paths of claims and ConfigMaps, by reference without path: `pvc://datasets` -> `/data/pvc/datasets`."""
    base_path: str = WORKSPACE_PATH
    """Folder that plain paths in the manifest are relative to."""

    task: Task
    data: Data
    generation: Generation
    student: Student
    training: Training
    labels: tuple[str, ...]
    """The allowed answers, including defaults."""
    evaluation: EvaluationOptions = EvaluationOptions()
    tracking: Tracking | None = None
    """Experiment trackers to report to. It is no part of the stage's identity."""
    base_folder: str | None = None
    """Folder `base-<hash>` of the workspace in which the base model is kept for a server of adapters; it is trained on
    that, and the adapter is left for the server (train)."""
    served_adapter: str | None = None
    """Folder in the server's Pod of the adapter that is to answer; None where a merged model is served (verify)."""
    serving_student: ServingStudent | None = None
    """The student that is served, if the quality gate compares the new one with it (evaluate). It is no part of the
    stage's identity."""
    model_image: ModelImage | None = None
    """Registry that the student is pushed to as an image (publish)."""
    hub: Hub | None = None
    """Repository of a model hub that the student is pushed to (publish)."""
    signing_key: SigningKey | None = None
    """The Secret with the key that signs the model's files (publish)."""
    server_url: str | None = None
    """Base URL of the student's server, such as `http://NAME.NAMESPACE.svc:8000/v1` (verify). It serves the student
    under the name of the Distillation."""
    bakes_prompt: bool | None = None
    """Whether the server's chat template holds the student prompt, so that requests do without (verify)."""

    training_machine: TrainingMachine | None = None
    """What the train stage will have, for generate, which refuses what cannot be trained there; None if unknown. It is
    no part of the stage's identity."""
    retry_rejected: RetryRejected | None = None
    """The rejected rows to ask again (generate). It is no part of the stage's identity."""

    api_key_variables: dict[str, str] = {}
    """Environment variables with API keys, by SECRET/KEY."""
    request_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """Timeout of a request to the teacher or a judge, in seconds, including the response body."""
    max_attempts: Annotated[int, Field(ge=1)] = 6
    """Maximum number of requests for one reply, including the first one; then the row is rejected."""
    processes: Annotated[int, Field(ge=2, le=64)] | None = None
    """Number of processes that answer the held-out rows, each with a GPU of its own; None for one (evaluate)."""
    micro_batches: Annotated[int, Field(ge=1)] = 1
    """Number of equal parts in which a batch is processed, to save memory (train, evaluate). The training batch size,
    and the result up to rounding, stay the same."""
    progress_timeout_seconds: Annotated[float, Field(gt=0)] = 7200.0
    """Maximum time without progress, in seconds; then the attempt ends."""
    metrics_host: str = "0.0.0.0"  # noqa: S104 - the operator reads it from another Pod
    """Address that `/metrics` listens on."""
    metrics_port: int = METRICS_PORT
    """TCP port of `/metrics`; 0 selects a free port and writes it to `<folder>/metrics-port`."""
    termination_message_path: str | None = TERMINATION_MESSAGE_PATH
    """File for the termination message; null to write none."""

    @property
    def asks_server_of_users(self) -> bool:
        """Whether the server that is asked is the one of the users, rather than a candidate beside it (verify)."""
        host = urlsplit(self.server_url or "").hostname or ""
        return host.partition(".")[0] == self.name

    @property
    def train_hash(self) -> str:
        """The hash of the training, by which a student is named."""
        return self.inputs[Stage.TRAIN].removeprefix(f"{Stage.TRAIN}-")

    @property
    def paths(self) -> Workspace:
        """The workspace."""
        return Workspace(Path(self.workspace))

    @property
    def stage_folder(self) -> StageFolder:
        """The stage's own folder."""
        return self.paths.stage(self.folder)

    def input_folder(self, stage: Stage) -> StageFolder:
        """The folder of an earlier stage."""
        return self.paths.stage(self.inputs[stage])

    @classmethod
    def read(cls, path: Path) -> RunConfig:
        """The config in the JSON file `path`. Raises OSError or pydantic.ValidationError."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))
