"""What the user asks for. A field's docstring is its description in the CRD: unit, default and effect, once."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from distillery_api.model import ApiModel, Matches, OpenModel, Rule

NLI_LABELS = ("entailment", "neutral", "contradiction")

RESERVED_LABEL_PREFIXES = ("app.kubernetes.io/", "distillery.dev/", "batch.kubernetes.io/")

_NAME = r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_QUANTITY_RULE = Rule(
    f"type(self) == int ? int(self) >= 0 : string(self).matches({json.dumps(QUANTITY)})",
    "not a quantity; write for instance 500m, 2 or 16Gi",
)


def _check_quantity(value: int | str) -> int | str:
    if value < 0 if isinstance(value, int) else not re.fullmatch(QUANTITY, value):
        raise PydanticCustomError("quantity", "{message}", {"message": _QUANTITY_RULE.message})
    return value


ObjectName = Annotated[
    str,
    Field(max_length=253),
    Matches(f"^{_NAME}$", "not the name of an object; use lower-case letters, digits, - and ."),
]
ShortName = Annotated[
    str,
    Field(max_length=63),
    Matches(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "not a name; use lower-case letters, digits and -, at most 63 characters"
    ),
]
SecretKey = Annotated[
    str, Field(max_length=253), Matches("^[-._a-zA-Z0-9]+$", "not a key of a Secret; use letters, digits, -, _ and .")
]
SourceUri = Annotated[
    str,
    Field(max_length=1024),
    Matches(
        rf"^(pvc://{_NAME}/[^/].*|configmap://{_NAME}/[-._a-zA-Z0-9]+|file:///.+|[^:]+)$",
        "not a place that rows can be read from; write pvc://CLAIM/PATH, configmap://NAME/KEY, file:///PATH or a path",
    ),
]
ModelUri = Annotated[
    str,
    Field(max_length=1024),
    Matches(
        rf"^(hf://[-._a-zA-Z0-9]+/[-._a-zA-Z0-9]+(@[-._/a-zA-Z0-9]+)?|pvc://{_NAME}/[^/].*|file:///.+|[^:]+)$",
        "not a place that a model can be loaded from; write hf://ORG/NAME, pvc://CLAIM/PATH, file:///PATH or a path",
    ),
]
Endpoint = Annotated[
    str,
    Field(max_length=1024),
    Matches(
        r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        "not the base URL of a server; write for instance https://teacher.example/v1",
    ),
]
Label = Annotated[
    str,
    Field(max_length=100),
    Matches(r"^\S([^\n]*\S)?$", "a label must not be empty, span lines, or start or end with white space"),
]
Flag = Annotated[bool, Field(strict=True)]
StopSequence = Annotated[str, Field(min_length=1, max_length=100)]
Prompt = Annotated[
    str,
    Field(max_length=20_000),
    Matches(r"^(?s:.*)\S(?s:.*)$", "the prompt is empty; write one, or leave the field out"),
]
Quantity = Annotated[
    StrictInt | str,
    AfterValidator(_check_quantity),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "x-kubernetes-validations": [_QUANTITY_RULE.to_schema()],
        }
    ),
]


class Task(StrEnum):
    """The task that the student learns."""

    NLI = "NLI"


class TrainingMethod(StrEnum):
    """Which of the student's weights are trained."""

    LORA = "LoRA"
    FULL = "Full"


class ServingMode(StrEnum):
    """Whether the student is served."""

    DEPLOYMENT = "Deployment"
    NONE = "None"


class ServingRuntime(StrEnum):
    """The server that answers for the student."""

    VLLM = "VLLM"
    TRANSFORMERS = "Transformers"


class AccessMode(StrEnum):
    """The access modes of a volume that stages and server can share."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Retention(StrEnum):
    """What becomes of the workspace claim when the Distillation is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class SecretKeyReference(ApiModel):
    """One key of a Secret in the Distillation's namespace."""

    secret_name: ObjectName
    """Name of the Secret."""
    key: SecretKey = "api-key"
    """Key within the Secret. Default: api-key."""


class SecretReference(ApiModel):
    """A Secret in the Distillation's namespace, all keys of which become environment variables."""

    secret_name: ObjectName
    """Name of the Secret."""


class DataSource(ApiModel):
    """Where rows are read from."""

    uri: SourceUri
    """A JSON Lines file of chat rows: pvc://CLAIM/PATH, configmap://NAME/KEY, file:///PATH, or a plain path. A plain
    path is taken from the manifest's folder in a local run and from the workspace volume in a cluster."""


class Data(ApiModel):
    """The rows to distil from. Each row is `{"messages": [...]}` with optional `id`, `gold` and `metadata`."""

    version: Annotated[str, Field(max_length=100)] | None = None
    """Part of the data's identity: change it when the content behind a URI changes, and every stage runs again."""
    train: DataSource
    """Rows that the teacher answers and the student learns from."""
    validation: DataSource
    """Rows that the teacher answers and that choose the best checkpoint."""
    test: DataSource | None = None
    """Held-out rows with `gold`, from which the scores come. Default: carved from the validation rows, half of them,
    by content."""
    labels: Annotated[tuple[Label, ...], Field(min_length=2, max_length=50)] | None = None
    """The allowed answers of a label task, each at most 100 characters. Default for NLI: entailment, neutral,
    contradiction."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(a, self.labels.exists_one(b, b.lowerAscii() == a.lowerAscii()))",
            "labels: two labels are the same but for upper and lower case; give each label once",
        ),
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> Data:
        if self.labels and len({label.lower() for label in self.labels}) < len(self.labels):
            raise PydanticCustomError("rule", "{message}", {"message": self.rules[0].message})
        return self


class Teacher(ApiModel):
    """A large model behind an OpenAI-compatible API."""

    name: ShortName
    """A name of your choice, recorded with each row."""
    endpoint: Endpoint
    """Base URL of the server, up to and including its version, such as https://teacher.example/v1."""
    model: Annotated[str, Field(min_length=1, max_length=253)]
    """The model's name at that server."""
    api_key: SecretKeyReference | None = None
    """The key for the server. Default: none is sent."""


class Sampling(ApiModel):
    """How the teacher chooses its words."""

    temperature: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.2
    """From 0 to 1. Default: 0.2."""
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    """Nucleus sampling, from 0 to 1. Default: 0.1."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=131_072)] | None = None
    """Longest reply, in tokens. Default: 128 for labels, 512 with chain of thought."""
    frequency_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """From 0 to 2. Default: 0, which is not sent."""
    presence_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """From 0 to 2. Default: 0, which is not sent."""
    stop: Annotated[tuple[StopSequence, ...], Field(max_length=4)] | None = None
    """Up to four texts that end a reply."""


class Prompts(ApiModel):
    """Your own system prompts instead of the task's."""

    teacher: Prompt | None = None
    """What the teacher is told. Default: the chain-of-thought template where that is on, else the student's prompt."""
    student: Prompt | None = None
    """What the student is trained and served with. Default: the row's own system message, else the
    task's short prompt."""


class Budget(ApiModel):
    """A hard limit on what the teacher may cost."""

    max_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000_000)] | None = None
    """Most tokens, read and written, that all teacher calls of this workspace may use together. Reserved before each
    call, so it is never overshot; everything paid for is kept. Default: no limit."""


class Resources(ApiModel):
    """Compute resources of the stage's container, as in a Pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=20)] | None = None
    """What the scheduler sets aside."""
    limits: Annotated[dict[str, Quantity], Field(max_length=20)] | None = None
    """What the container may use at most, for instance `nvidia.com/gpu: 1`."""


class TemplateMetadata(ApiModel):
    """Labels and annotations added to the stage's Pods."""

    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=50)] | None = None
    """Added to the Pod. Labels under app.kubernetes.io/, distillery.dev/ and batch.kubernetes.io/ are reserved."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=50)] | None = None
    """Added to the Pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/')"
            " && !k.startsWith('distillery.dev/') && !k.startsWith('batch.kubernetes.io/'))",
            "labels: keys under app.kubernetes.io/, distillery.dev/ and batch.kubernetes.io/ are reserved; use a prefix"
            " of your own",
        ),
    )

    @model_validator(mode="after")
    def _no_reserved_label(self) -> TemplateMetadata:
        if any(key.startswith(RESERVED_LABEL_PREFIXES) for key in self.labels or {}):
            raise PydanticCustomError("rule", "{message}", {"message": self.rules[0].message})
        return self


class TemplateContainer(OpenModel):
    """A container of the Pod: the stage's own when it is named `stage`, else one added beside it."""

    name: ShortName
    """Name of the container; `stage` is the generated one."""
    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = None
    """Reserved for the container `stage`."""
    args: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = None
    """Reserved for the container `stage`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.name != 'stage' || (!has(self.command) && !has(self.args))",
            "command and args of the container stage are reserved; remove them, or use a container of another name",
        ),
    )

    @model_validator(mode="after")
    def _stage_command_is_ours(self) -> TemplateContainer:
        if self.name == "stage" and (self.command is not None or self.args is not None):
            raise PydanticCustomError("rule", "{message}", {"message": self.rules[0].message})
        return self


class TemplateSpec(OpenModel):
    """A partial PodSpec, merged over the generated one; lists of named things are merged by name."""

    restart_policy: Annotated[str, Field(max_length=20)] | None = None
    """Reserved."""
    containers: Annotated[tuple[TemplateContainer, ...], Field(max_length=10)] | None = None
    """Containers, merged by name over the generated container `stage`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.restartPolicy)", "restartPolicy is reserved; remove it: the stage decides when it runs again"),
    )

    @model_validator(mode="after")
    def _restart_policy_is_ours(self) -> TemplateSpec:
        if self.restart_policy is not None:
            raise PydanticCustomError("rule", "{message}", {"message": self.rules[0].message})
        return self


class PodTemplate(ApiModel):
    """A partial PodTemplateSpec, merged over the generated one by container name: node selectors, tolerations, volumes,
    priority class, service account and the like."""

    metadata: TemplateMetadata | None = None
    """Labels and annotations of the Pod."""
    spec: TemplateSpec | None = None
    """Fields of the Pod."""


class StageOptions(ApiModel):
    """Where and how a stage's container runs. None of this changes a result, so none of it runs a stage again."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Container image. Default: the operator's."""
    resources: Resources | None = None
    """Compute resources. Default: a small request of CPU and memory, no GPU."""
    pod_template: PodTemplate | None = None
    """A partial PodTemplateSpec, merged over the generated one."""


class Generation(StageOptions):
    """The first stage: the teacher answers the rows."""

    teachers: Annotated[
        tuple[Teacher, ...], Field(min_length=1, max_length=1, json_schema_extra={"x-list-key": "name"})
    ]
    """The model that answers; exactly one."""
    chain_of_thought: Flag = False
    """Lets the teacher reason step by step before it answers. The reasoning improves the answer and is not trained on.
    Default: false."""
    sampling: Sampling = Sampling()
    """How the teacher chooses its words."""
    prompts: Prompts = Prompts()
    """Your own prompts instead of the task's."""
    concurrency: Annotated[int, Field(strict=True, ge=1, le=2000)] = 32
    """Calls under way at once. Default: 32."""
    min_success_ratio: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.7
    """Share of a split's rows that must get a readable, allowed answer, from 0 to 1. The stage ends as soon as it
    cannot be reached any more. Default: 0.7."""
    budget: Budget = Budget()
    """A hard limit on tokens."""


class StudentModel(ApiModel):
    """The small model to train."""

    uri: ModelUri
    """A causal language model with tokenizer and chat template, in the Hugging Face format: hf://ORG/NAME, optionally
    @REVISION, pvc://CLAIM/PATH, file:///PATH, or a plain path (as in `data`)."""


class Student(ApiModel):
    """The student."""

    model: StudentModel
    """The small model to train."""
    credentials: SecretReference | None = None
    """A Secret whose keys become environment variables of the stages that load the model, for instance HF_TOKEN."""


class Lora(ApiModel):
    """Low-rank adapters (Hu et al., arXiv 2106.09685) on all linear layers."""

    rank: Annotated[int, Field(strict=True, ge=1, le=512)] = 8
    """Rank of the adapters. Default: 8."""
    alpha: Annotated[int, Field(strict=True, ge=1, le=4096)] = 128
    """Scale of the adapters; their weight is alpha / rank. Default: 128."""
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0
    """Share of the adapters' inputs that is dropped in training. Default: 0."""


class Training(StageOptions):
    """The second stage: the student learns the teacher's answers under the short prompt."""

    method: TrainingMethod = TrainingMethod.LORA
    """LoRA trains small adapters and merges them; Full trains every weight. Default: LoRA."""
    lora: Lora = Lora()
    """The adapters, where method is LoRA."""
    epochs: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """Passes over the training rows. Default: 1."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 1
    """Rows a step. Default: 1."""
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.0003
    """Peak of the cosine schedule. Default: 0.0003."""
    warmup_steps: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 5
    """Steps until the learning rate peaks. Default: 5."""
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    """Weight decay of AdamW. Default: 0.1."""
    max_length: Annotated[int, Field(strict=True, ge=16, le=1_048_576)] = 8192
    """Longest row, in tokens, at most the model's positions. Longer rows are rejected and counted, never cut.
    Default: 8192."""
    seed: Annotated[int, Field(strict=True, ge=0, le=4_294_967_295)] = 42
    """Seed of shuffling and initialisation. Default: 42."""


class EvaluationOptions(StageOptions):
    """The third stage: teacher, base model, student and simple baselines on the same held-out rows."""


class Serving(StageOptions):
    """How the student is served."""

    mode: ServingMode = ServingMode.DEPLOYMENT
    """Deployment serves the student behind a Service of a stable name; None ends the run with the scores.
    Default: Deployment."""
    runtime: ServingRuntime = ServingRuntime.VLLM
    """VLLM needs a GPU (ask for it in resources); Transformers runs on a CPU. Default: VLLM."""
    replicas: Annotated[int, Field(strict=True, ge=0, le=1000)] = 1
    """Pods that serve. More than one needs a ReadWriteMany volume. Default: 1."""


class Storage(ApiModel):
    """The workspace volume: every paid reply, the rows, the models. A ReadWriteOnce volume, the default, ties all
    stages and the server to one node, and a new student then replaces the old one with a short gap; ReadWriteMany
    does not."""

    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim to use; excludes every other field."""
    size: Quantity | None = None
    """Size of the claim to create. Default: 50Gi."""
    storage_class_name: ObjectName | None = None
    """Storage class of the claim. Default: the cluster's."""
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=2)] | None = None
    """Access modes of the claim. Default: ReadWriteOnce."""
    retention: Retention | None = None
    """Retain keeps the claim, with all that was paid for, when the Distillation is deleted; Delete removes it.
    Default: Retain."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.claimName) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessModes)"
            " && !has(self.retention))",
            "claimName excludes size, storageClassName, accessModes and retention; give either an existing claim or the"
            " claim to create",
        ),
    )

    @model_validator(mode="after")
    def _claim_is_named_or_described(self) -> Storage:
        described = (self.size, self.storage_class_name, self.access_modes, self.retention)
        if self.claim_name is not None and any(value is not None for value in described):
            raise PydanticCustomError("rule", "{message}", {"message": self.rules[0].message})
        return self


DEFAULT_STORAGE_SIZE = "50Gi"


class DistillationSpec(ApiModel):
    """What to distil: a task, its rows, a teacher and a student."""

    task: Task
    """The task: NLI (how does a hypothesis relate to a premise)."""
    suspend: Flag = False
    """Stops running stages, keeps what is done and goes on serving. Default: false."""
    data: Data
    """The rows to distil from."""
    generation: Generation
    """The first stage: the teacher answers the rows."""
    student: Student
    """The model to train."""
    training: Training = Training()
    """The second stage: the student learns the teacher's answers."""
    evaluation: EvaluationOptions = EvaluationOptions()
    """The third stage: everybody answers the held-out rows."""
    serving: Serving = Serving()
    """How the student is served."""
    storage: Storage = Storage()
    """The workspace volume. With ReadWriteOnce, the default, everything runs on one node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.serving.mode == 'None' || self.serving.replicas <= 1 || has(self.storage.claimName)"
            " || (has(self.storage.accessModes) && self.storage.accessModes.exists(m, m == 'ReadWriteMany'))",
            "serving.replicas: more than one replica needs a volume that many nodes can mount; set storage.accessModes"
            " to [ReadWriteMany] or replicas to 1",
        ),
    )

    @model_validator(mode="after")
    def _replicas_can_mount_the_volume(self) -> DistillationSpec:
        shared = self.storage.claim_name is not None or AccessMode.READ_WRITE_MANY in (self.storage.access_modes or ())
        if self.serving.mode is ServingMode.DEPLOYMENT and self.serving.replicas > 1 and not shared:
            raise PydanticCustomError("rule", "{message}", {"message": self.rules[0].message})
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The allowed answers of a label task."""
        return self.data.labels or NLI_LABELS


def without_defaults(model: ApiModel, exclude: Any = None) -> dict[str, Any]:
    """The fields that differ from their defaults, for a hash that an added field does not change."""
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=exclude)
