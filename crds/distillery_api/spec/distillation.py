"""The whole spec, and the rules that join its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from distillery_api.base import ApiModel, NotIdentity, Rule
from distillery_api.spec.data import Data
from distillery_api.spec.evaluation import EvaluationOptions
from distillery_api.spec.fields import Flag
from distillery_api.spec.generation import Generation
from distillery_api.spec.serving import Serving, ServingMode
from distillery_api.spec.storage import AccessMode, Storage
from distillery_api.spec.task import LABEL_TASKS, NLI_LABELS, REASONING_TASKS, Task
from distillery_api.spec.training import Student, Training


def _replicas_can_mount_the_volume(spec: DistillationSpec) -> bool:
    shared = spec.storage.claim_name is not None or AccessMode.READ_WRITE_MANY in (spec.storage.access_modes or ())
    return shared or spec.serving.mode is ServingMode.NONE or spec.serving.replicas <= 1


def _only_with(tasks: tuple[Task, ...], condition: str, field: str, given: Callable[[DistillationSpec], bool]) -> Rule:
    """The rule of a field that other tasks do not have: `condition` is `given` in CEL."""
    listed = ", ".join(f"'{task}'" for task in tasks)
    names = " and ".join(", ".join(tasks).rsplit(", ", 1))

    def holds(spec: DistillationSpec) -> bool:
        return spec.task in tasks or not given(spec)

    return Rule(
        f"!({condition}) || self.task in [{listed}]",
        f"{field} belongs to {names}; remove it, or change task",
        holds,
    )


_TASK_RULES = (
    _only_with(LABEL_TASKS, "has(self.data.labels)", "data.labels", lambda spec: spec.data.labels is not None),
    _only_with(
        REASONING_TASKS,
        "self.generation.chainOfThought",
        "generation.chainOfThought",
        lambda spec: spec.generation.chain_of_thought,
    ),
    _only_with(
        REASONING_TASKS, "self.generation.samples > 1", "generation.samples", lambda spec: spec.generation.samples > 1
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
        REASONING_TASKS,
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
        (Task.SUMMARIZATION, Task.CONVERSATION),
        "has(self.generation.language)",
        "generation.language",
        lambda spec: spec.generation.language is not None,
    ),
    _only_with(
        (Task.SUMMARIZATION, Task.CONVERSATION),
        "has(self.evaluation.judge)",
        "evaluation.judge",
        lambda spec: spec.evaluation.judge is not None,
    ),
)


class DistillationSpec(ApiModel):
    """What to distil: a task, its rows, a teacher and a student."""

    task: Task
    """The task: NLI (how does a hypothesis relate to a premise), MultipleChoice, Math (the answer is a number),
    Summarization or Conversation (of one turn or many)."""
    suspend: Annotated[Flag, NotIdentity] = False
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
    serving: Annotated[Serving, NotIdentity] = Serving()
    """How the student is served."""
    storage: Annotated[Storage, NotIdentity] = Storage()
    """The workspace volume. With ReadWriteOnce, the default, everything runs on one node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.serving.mode == 'None' || self.serving.replicas <= 1 || has(self.storage.claimName)"
            " || (has(self.storage.accessModes) && self.storage.accessModes.exists(m, m == 'ReadWriteMany'))",
            "serving.replicas: more than one replica needs a volume that many nodes can mount; set storage.accessModes"
            " to [ReadWriteMany] or replicas to 1",
            _replicas_can_mount_the_volume,
        ),
        *_TASK_RULES,
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """The allowed answers of a label task; empty where each row has its own, or the answer is no label."""
        return self.data.labels or (NLI_LABELS if self.task is Task.NLI else ())
