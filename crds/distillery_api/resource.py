"""The resource: group, version, kind, and the metadata that Distillery reads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from distillery_api.base import ApiModel, LenientModel, Rule, matches
from distillery_api.spec import DistillationSpec
from distillery_api.status import DistillationStatus

GROUP = "distillery.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "Distillation"
PLURAL = "distillations"
SINGULAR = "distillation"
SHORT_NAME = "distill"
CATEGORY = "distillery"
RETRY_ANNOTATION = f"{GROUP}/retry-at"
RETRY_REJECTED_ANNOTATION = f"{GROUP}/retry-rejected"
RESTART_ANNOTATION = f"{GROUP}/restart-at"
PROMOTE_ANNOTATION = f"{GROUP}/promote"

NAME_LIMIT = 40
_CHARACTERS = matches(
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
    "metadata.name: must start with a lowercase letter and contain only lowercase letters, digits and -",
)
_LENGTH = matches(
    f"^.{{0,{NAME_LIMIT}}}$",
    f"metadata.name: longer than {NAME_LIMIT} characters; Jobs and Services derive their names from it, so choose a"
    " shorter one",
)


def _of_name(rule: Rule) -> Rule:
    """A rule of the name as a rule of the whole resource: a CRD has no schema of its own for metadata."""

    def holds(distillation: Distillation) -> bool:
        return rule.holds(distillation.metadata.name)

    expression = rule.expression and rule.expression.replace("self", "self.metadata.name", 1)
    return Rule(expression, rule.message, holds)


class Metadata(LenientModel):
    """The parts of ObjectMeta that Distillery reads."""

    name: Annotated[str, _CHARACTERS, _LENGTH]
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Distillation(ApiModel):
    """A Distillation transfers a large model's skill at one task to a small model: a teacher answers the input rows, a
    student is trained on the answers, both are evaluated on held-out rows, and the student is served."""

    model_config: ClassVar[Any] = {"title": KIND}

    api_version: Literal["distillery.dev/v1alpha1"]
    kind: Literal["Distillation"]
    metadata: Metadata
    spec: DistillationSpec
    """Desired state."""
    status: DistillationStatus = DistillationStatus()
    """Observed state."""

    rules: ClassVar[tuple[Rule, ...]] = (_of_name(_CHARACTERS), _of_name(_LENGTH))
