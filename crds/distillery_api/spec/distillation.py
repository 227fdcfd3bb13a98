"""The whole spec, and the rules that join its parts."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from distillery_api.model import ApiModel, Rule
from distillery_api.spec.data import Data
from distillery_api.spec.evaluation import EvaluationOptions
from distillery_api.spec.fields import Flag
from distillery_api.spec.generation import Generation
from distillery_api.spec.serving import Serving, ServingMode
from distillery_api.spec.storage import AccessMode, Storage
from distillery_api.spec.task import NLI_LABELS, Task
from distillery_api.spec.training import Student, Training


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
