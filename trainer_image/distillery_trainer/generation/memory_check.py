"""Whether the training will fit into its memory, before the teacher is paid: estimated from the student's sizes and the
lengths of the rows. Where the memory is unknown, the estimate is stated and the run goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.spec import RationaleUse, SampleUse, Training, TrainingMethod
from distillery_api.training_memory import TrainingMemory, gigabytes
from distillery_trainer.generation.preflight import PreparedData
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.checked_student import CheckedStudent
from distillery_trainer.student.chosen_settings import chosen_settings
from distillery_trainer.student.training_memory import (
    LIBRARY_BYTES,
    ModelSizes,
    TrainingLoad,
    divided_if_needed,
    keeps_activations,
    least_load,
    training_memory,
)
from distillery_trainer.tasks import TaskDefinition

_SHORTER = 2
"""The rows may have so much fewer tokens than a teacher's prompts were counted to have."""
_MANY_ROWS = 100_000
"""So many that the largest batch size is chosen."""
_BFLOAT16, _FLOAT32 = 2, 4


@dataclass(frozen=True)
class RowLengths:
    """Of the rows that are trained on, in tokens."""

    count: int
    longest: int
    answer: int
    """Of the longest row's answer."""


def row_lengths(data: PreparedData) -> RowLengths:
    """Of the prepared rows, by their teacher prompts, which are no shorter than the student's, and typical answers."""
    prompt, answer = data.sampler.longest_row
    return RowLengths(data.rows_to_send_by_split["train"], math.ceil(prompt + answer), max(1, math.ceil(answer)))


def longest_possible_rows(config: RunConfig, task: TaskDefinition) -> RowLengths:
    """Of rows that nobody has read: many, and as long as training.maxLength and the task allow."""
    longest = config.training.max_length
    return RowLengths(_MANY_ROWS, longest, min(task.max_tokens, longest))


def expected_memory(config: RunConfig, student: CheckedStudent, rows: RowLengths) -> TrainingMemory | None:
    """The memory that the training is expected to take; None where the sizes of the model are unknown."""
    if student.sizes is None:
        return None
    available = _available(config, student)
    load = _load(config, student, student.sizes, rows)
    if available is not None:
        free = available - training_memory(student.sizes, load).weights
        load = replace(load, keeps_activations=keeps_activations(student.sizes, load, free))
    return training_memory(student.sizes, load).model_copy(update={"available": available})


def refuse_what_cannot_fit(config: RunConfig, student: CheckedStudent, rows: RowLengths) -> None:
    """Raises UserError where the training cannot fit even with one row at a time whose activations are not kept."""
    available = _available(config, student)
    if student.sizes is None or available is None:
        return
    load = least_load(_load(config, student, student.sizes, rows))
    load = replace(load, length=max(1, load.length // _SHORTER), answer=max(1, load.answer // _SHORTER))
    least = training_memory(student.sizes, load).model_copy(update={"available": available})
    if least.total + LIBRARY_BYTES <= available:
        return
    fitting = _fitting_method(config, student, load, available)
    method = f"set training.method to {fitting}, " if fitting else ""
    raise UserError(
        f"training.method: {config.training.method} of this student ({student.sizes.parameters / 1e6:,.0f} million"
        f" parameters) takes at least {least.sentence()}, and {gigabytes(LIBRARY_BYTES)} for the libraries; {method}use"
        " a smaller student.model, or more memory (training.resources).",
        reason=Reason.INVALID_SPEC,
    )


def _fitting_method(
    config: RunConfig, student: CheckedStudent, load: TrainingLoad, available: int
) -> TrainingMethod | None:
    """The first method that fits; None where none does."""
    for method in (TrainingMethod.LORA, *([TrainingMethod.QLORA] if _on_gpu(config, student) else [])):
        smaller = replace(load, method=method, rank=config.training.adapter_rank, processes=1)
        if student.sizes and training_memory(student.sizes, smaller).total + LIBRARY_BYTES <= available:
            return method
    return None


def _on_gpu(config: RunConfig, student: CheckedStudent) -> bool:
    return student.on_gpu or (config.training_machine is not None and config.training_machine.gpus > 0)


def _available(config: RunConfig, student: CheckedStudent) -> int | None:
    machine = config.training_machine
    if machine is None:
        return None
    return student.memory if machine.is_this_one else machine.training_memory


def _load(config: RunConfig, student: CheckedStudent, sizes: ModelSizes, rows: RowLengths) -> TrainingLoad:
    settings = chosen_settings(config.training, max(1, rows.count), sizes.parameters)
    length = min(rows.longest, config.training.max_length, student.positions or rows.longest)
    load = TrainingLoad(
        method=config.training.method,
        number_bytes=student.number_bytes or (_BFLOAT16 if _on_gpu(config, student) else _FLOAT32),
        rank=settings.rank or 0,
        sequences=math.ceil(settings.batch_size / _processes(config.training)) * _sequences_of_a_row(config),
        length=length,
        answer=min(rows.answer, length),
    )
    if not _on_gpu(config, student):
        return load
    return divided_if_needed(sizes, load, _processes(config.training), _available(config, student))


def _sequences_of_a_row(config: RunConfig) -> int:
    """Those that stand in a micro-batch together, at most: the answer of each sample, and a rationale."""
    objective = config.training.objective
    answers = config.generation.samples if objective.samples is SampleUse.SOFT else 1
    return answers + (objective.rationales is RationaleUse.AUXILIARY)


def _processes(training: Training) -> int:
    """Those that share each batch."""
    return (training.gpus_per_node or 1) * (training.nodes or 1)
