"""What a student learns from each row: one module per objective, and what they share.

A row may bring further sequences and columns of values for the tokens of its answer (`row_batches.py` puts them into
batches); an objective says what their loss is (`objective.py`).
"""

from __future__ import annotations

from distillery_api.spec import ObjectiveKind, TrainingObjective
from distillery_trainer.student.objectives.labels import Labels
from distillery_trainer.student.objectives.logits import Logits
from distillery_trainer.student.objectives.objective import Objective

_OBJECTIVES: dict[ObjectiveKind, type[Objective]] = {
    ObjectiveKind.LABELS: Labels,
    ObjectiveKind.LOGITS: Logits,
    ObjectiveKind.PREFERENCE: Labels,  # before its second part, `preference.py`
}


def objective_for(wanted: TrainingObjective) -> Objective:
    """The objective that a manifest asks for."""
    return _OBJECTIVES[wanted.kind](wanted)
