"""The rows to distil from."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from distillery_api.model import ApiModel, Rule
from distillery_api.spec.fields import Label, SourceUri


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
