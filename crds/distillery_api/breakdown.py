"""What the result table has no room for: each system's figures by class or by field. `breakdown.json` in the folder of
evaluate."""

from __future__ import annotations

from distillery_api.base import LenientModel


class PartFigures(LenientModel):
    """How well a system finds one class or field. Shares are between 0 and 1."""

    name: str
    """Name of the class or field."""
    rows: int
    """Number of held-out rows whose reference has it."""
    precision: float
    """Of the rows whose answer has it, the share that is right; 0 without any."""
    recall: float
    """Of the rows whose reference has it, the share that is right; 0 without any."""
    f1: float
    """Harmonic mean of precision and recall."""


class SystemBreakdown(LenientModel):
    """The figures of one system."""

    parts: tuple[PartFigures, ...]
    """By class in the order of data.labels, or by field in the order of the schema."""
    confusion: dict[str, dict[str, int]] | None = None
    """Number of rows by class of the reference, then by class of the answer; an unreadable answer has the class "".
    Zeros are left out. Only where a row has one class."""


class Breakdown(LenientModel):
    """The figures of all systems, by what the answers consist of."""

    part: str
    """What a part is: class, field or argument."""
    systems: dict[str, SystemBreakdown]
    """By the system's field in the result table, such as baseTeacherPrompt."""

    def to_json(self) -> str:
        """The content of the file."""
        return self.model_dump_json(by_alias=True, indent=2, exclude_none=True) + "\n"
