"""`python -m distillery_trainer memory`: the memory that the training of a run will take."""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.training_memory import TrainingMemory
from distillery_trainer.generation.memory_check import (
    expected_memory,
    longest_possible_rows,
    refuse_what_cannot_fit,
    row_lengths,
)
from distillery_trainer.generation.preflight import run_preflight
from distillery_trainer.generation.student_check import check_student
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.tasks import task_for


def run(config: RunConfig, *, reads_rows: bool) -> TrainingMemory:
    """The memory for the run's rows, or for the longest that it allows.

    Raises StageError if the student or rows are invalid, or the training cannot fit, or nothing is known of the
    student.
    """
    student, task = check_student(config), task_for(config)
    if isinstance(student, str):
        raise UserError(student, reason=Reason.INVALID_MODEL)
    rows = row_lengths(run_preflight(config, task)) if reads_rows else longest_possible_rows(config, task)
    refuse_what_cannot_fit(config, student, rows)
    memory = expected_memory(config, student, rows)
    if memory is None:
        uri = config.student.model.uri
        message = f"student.model.uri: {uri}: its configuration does not say the sizes of its layers."
        raise UserError(message, reason=Reason.INVALID_MODEL)
    return memory
