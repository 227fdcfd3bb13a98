"""The whole spec, and the rules that span several of its fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from distillery_api.base import ApiModel, NotIdentity, Rule
from distillery_api.spec.child_metadata import ChildMetadata
from distillery_api.spec.data import Data
from distillery_api.spec.evaluation import EvaluationOptions
from distillery_api.spec.fields import Flag
from distillery_api.spec.generation import Generation
from distillery_api.spec.objective_rules import OBJECTIVE_RULES
from distillery_api.spec.publication import Publication
from distillery_api.spec.queue import ManagedBy, Queue
from distillery_api.spec.rollout import RolloutStrategy
from distillery_api.spec.serving import AdapterMode, Serving, ServingMode
from distillery_api.spec.storage import AccessMode, Storage
from distillery_api.spec.task import (
    CHAIN_OF_THOUGHT_TASKS,
    COMPARABLE_TASKS,
    LABEL_TASKS,
    NLI_LABELS,
    PROSE_TASKS,
    Task,
)
from distillery_api.spec.tracking import Tracking
from distillery_api.spec.training import Student, ToolFormat, Training, TrainingMethod


def _may_be_mounted_by_many(spec: DistillationSpec) -> bool:
    return spec.storage.claim_name is not None or AccessMode.READ_WRITE_MANY in (spec.storage.access_modes or ())


def _replicas_can_mount_the_volume(spec: DistillationSpec) -> bool:
    needed = spec.serving.mode is not ServingMode.NONE and spec.serving.model_image is None
    return _may_be_mounted_by_many(spec) or not needed or spec.serving.replicas <= 1


def _candidate_can_mount_the_volume(spec: DistillationSpec) -> bool:
    is_canary = spec.serving.rollout.strategy is RolloutStrategy.CANARY and spec.serving.mode is not ServingMode.NONE
    return _may_be_mounted_by_many(spec) or spec.serving.model_image is not None or not is_canary


_MANY_NODES = (
    "has(self.storage.claimName) || (has(self.storage.accessModes) && self.storage.accessModes.exists(m, m =="
    " 'ReadWriteMany'))"
)


def _serves_what_is_trained(spec: DistillationSpec) -> bool:
    return spec.serving.adapter is AdapterMode.MERGED or spec.training.method.trains_adapters


def _serves_what_vllm_loads(spec: DistillationSpec) -> bool:
    return spec.serving.adapter is AdapterMode.MERGED or spec.training.method is not TrainingMethod.DORA


def _only_with(
    tasks: tuple[Task, ...], condition: str | None, field: str, given: Callable[[DistillationSpec], bool]
) -> Rule:
    """The rule of a field that only some tasks support. `condition` is `given` in CEL; None where CEL does not see the
    field."""
    listed = ", ".join(f"'{task}'" for task in tasks)
    names = " and ".join(", ".join(tasks).rsplit(", ", 1))

    def holds(spec: DistillationSpec) -> bool:
        return spec.task in tasks or not given(spec)

    return Rule(
        None if condition is None else f"!({condition}) || self.task in [{listed}]",
        f"{field} is only supported for {names}; remove it, or change task",
        holds,
    )


def _has_option_columns(spec: DistillationSpec) -> bool:
    return any(source.columns and source.columns.options for source in spec.data.sources.values())


_OPTION_COLUMNS = " || ".join(
    ["(has(self.data.train.columns) && has(self.data.train.columns.options))"]
    + [
        f"(has(self.data.{split}) && has(self.data.{split}.columns) && has(self.data.{split}.columns.options))"
        for split in ("validation", "test")
    ]
)


def _has_defined_labels(spec: DistillationSpec) -> bool:
    return any(len(label.spellings) > 1 or label.description for label in spec.data.labels or ())


def _has_one_schema(spec: DistillationSpec) -> bool:
    given = (spec.generation.answer_schema is not None, spec.generation.schema_uri is not None)
    return sum(given) == (1 if spec.task is Task.EXTRACTION else 0)


_ONE_SCHEMA = Rule(
    # `schema` of this object, which the API server does not look into.
    "self.task == 'Extraction' ? has(self.generation.schema) != has(self.generation.schemaUri) :"
    " !has(self.generation.schema) && !has(self.generation.schemaUri)",
    "generation.schema: Extraction needs one JSON schema of its answers, and no other task has any; for Extraction set"
    " generation.schema (the schema itself) or generation.schemaUri (where it is), for another task remove both",
    _has_one_schema,
)
_TASK_RULES = (
    _ONE_SCHEMA,
    _only_with((Task.MULTIPLE_CHOICE,), _OPTION_COLUMNS, "columns.options", _has_option_columns),
    _only_with(LABEL_TASKS, None, "data.labels", lambda spec: spec.data.labels is not None),
    Rule(
        None,
        "data.labels: missing, and required for Classification; list the names of the labels, such as [positive,"
        " negative]",
        lambda spec: spec.task is not Task.CLASSIFICATION or spec.data.labels is not None,
    ),
    _only_with((Task.CLASSIFICATION,), None, "data.labels with value or description", _has_defined_labels),
    _only_with((Task.CLASSIFICATION,), "self.data.multiLabel", "data.multiLabel", lambda spec: spec.data.multi_label),
    _only_with(
        CHAIN_OF_THOUGHT_TASKS,
        "self.generation.chainOfThought",
        "generation.chainOfThought",
        lambda spec: spec.generation.chain_of_thought,
    ),
    _only_with(
        COMPARABLE_TASKS, "self.generation.samples > 1", "generation.samples", lambda spec: spec.generation.samples > 1
    ),
    _only_with(
        (Task.SUMMARIZATION,),
        "self.generation.chainOfDensity",
        "generation.chainOfDensity",
        lambda spec: spec.generation.chain_of_density,
    ),
    _only_with(
        (Task.SUMMARIZATION,),
        "has(self.generation.maxSummaryWords)",
        "generation.maxSummaryWords",
        lambda spec: spec.generation.max_summary_words is not None,
    ),
    _only_with(
        (Task.SUMMARIZATION,),
        "self.generation.filters.faithful",
        "generation.filters.faithful",
        lambda spec: spec.generation.filters.faithful,
    ),
    _only_with(
        COMPARABLE_TASKS,
        "self.generation.filters.disagreesWithGold",
        "generation.filters.disagreesWithGold",
        lambda spec: spec.generation.filters.disagrees_with_gold,
    ),
    _only_with(
        (Task.CONVERSATION,),
        "has(self.generation.history)",
        "generation.history",
        lambda spec: spec.generation.history is not None,
    ),
    _only_with(
        (Task.TOOL_CALLING,),
        "self.student.toolFormat != 'Template'",
        "student.toolFormat",
        lambda spec: spec.student.tool_format is not ToolFormat.TEMPLATE,
    ),
    _only_with(
        PROSE_TASKS,
        "has(self.generation.language)",
        "generation.language",
        lambda spec: spec.generation.language is not None,
    ),
    _only_with(
        PROSE_TASKS,
        "has(self.generation.filters.answerRules)",
        "generation.filters.answerRules",
        lambda spec: spec.generation.filters.answer_rules is not None,
    ),
    _only_with(
        PROSE_TASKS,
        "has(self.evaluation.judge)",
        "evaluation.judge",
        lambda spec: spec.evaluation.judge is not None,
    ),
)


class DistillationSpec(ApiModel):
    """The desired distillation: a task, its rows, a teacher and a student."""

    task: Task
    """Task to distil: NLI (how a hypothesis relates to a premise), MultipleChoice, Classification (one or several of
    your own labels), Math (the answer is a number), Summarization, Conversation (one or more turns), Text (an answer in
    prose, SQL or code to any instruction), Extraction (a JSON object of a schema), or ToolCalling (which functions to
    call, with which arguments)."""
    suspend: Annotated[Flag, NotIdentity] = False
    """Stops running stages and starts no new ones. Results are kept, and the student stays served. Default: false."""
    queue: Annotated[Queue | None, NotIdentity] = None
    """Queue of Kueue in which the Jobs wait. The labels kueue.x-k8s.io/queue-name and kueue.x-k8s.io/priority-class of
    the Distillation mean the same; what is said here comes first. Default: none."""
    managed_by: Annotated[ManagedBy | None, NotIdentity] = None
    """Controller of the Distillation; only distillery.dev/operator is possible. Default: distillery.dev/operator."""
    child_metadata: Annotated[ChildMetadata | None, NotIdentity] = None
    """Labels and annotations of all children, for policies and cost reports. Default: none."""
    data: Data
    """Input rows."""
    generation: Generation
    """The first stage: the teacher answers the rows."""
    student: Student
    """Model to train."""
    training: Training = Training()
    """The second stage: the student is trained on the teacher's answers."""
    evaluation: EvaluationOptions = EvaluationOptions()
    """The third stage: teacher, base model, student and baselines are evaluated on the held-out rows. Without resources
    of its own, it has those of training, on the nodes of training. Its image and podTemplate also apply to publish, the
    stage that pushes the student to serving.modelImage and publication.hub, and to verify, the stage that asks the
    served student some of these rows; its resources and node constraints do not: verify runs where the server may."""
    publication: Annotated[Publication, NotIdentity] = Publication()
    """Where each student goes that passes the quality gate, beside its server."""
    serving: Serving = Serving()
    """How the student is served."""
    tracking: Annotated[Tracking | None, NotIdentity] = None
    """Experiment trackers, such as MLflow, to which the figures of the stages are reported as they go on. Default:
    none."""
    storage: Annotated[Storage, NotIdentity] = Storage()
    """Workspace volume, which holds replies, rows and models. With ReadWriteOnce (the default), all stages and the
    server run on one node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.serving.mode == 'None' || self.serving.replicas <= 1 || has(self.serving.modelImage)"
            f" || {_MANY_NODES}",
            "serving.replicas: more than one replica requires a volume that several nodes can mount; set"
            " storage.accessModes to [ReadWriteMany], serve the student from an image (serving.modelImage), or set"
            " replicas to 1",
            _replicas_can_mount_the_volume,
        ),
        Rule(
            "self.serving.mode == 'None' || self.serving.rollout.strategy != 'Canary' || has(self.serving.modelImage)"
            f" || {_MANY_NODES}",
            "serving.rollout.strategy: Canary requires a volume that several nodes can mount, since two servers use it"
            " at the same time; set storage.accessModes to [ReadWriteMany], serve the student from an image"
            " (serving.modelImage), or set strategy to Rolling",
            _candidate_can_mount_the_volume,
        ),
        Rule(
            f"!has(self.training.nodes) || self.training.nodes == 1 || {_MANY_NODES}",
            "training.nodes: more than one node requires a volume that several nodes can mount; set storage.accessModes"
            " to [ReadWriteMany], or set training.nodes to 1",
            lambda spec: (spec.training.nodes or 1) == 1 or _may_be_mounted_by_many(spec),
        ),
        Rule(
            "!has(self.serving.adapter) || self.serving.adapter == 'Merged' || self.training.method != 'Full'",
            "serving.adapter: training.method Full makes no adapter; set training.method to LoRA, or adapter to Merged",
            _serves_what_is_trained,
        ),
        Rule(
            "!has(self.serving.adapter) || self.serving.adapter == 'Merged' || self.training.method != 'DoRA'",
            "serving.adapter: vLLM does not load adapters of training.method DoRA; set training.method to LoRA or"
            " rsLoRA, or adapter to Merged",
            _serves_what_vllm_loads,
        ),
        Rule(
            "!has(self.serving.sharedServer) || has(self.storage.claimName)",
            "serving.sharedServer: the shared server loads the adapter from its own claim; set storage.claimName to"
            " that claim (status.workspaceClaim of the Distillation that sharedServer names)",
            lambda spec: spec.serving.shared_server is None or spec.storage.claim_name is not None,
        ),
        *_TASK_RULES,
        *OBJECTIVE_RULES,
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """The allowed answers of a label task; empty if each row has its own, or if answers are not labels."""
        if self.data.labels is not None:
            return tuple(label.name for label in self.data.labels)
        return NLI_LABELS if self.task is Task.NLI else ()
