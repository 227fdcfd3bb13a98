"""What helps a stage that ran out of memory: fewer rows at a time. The result stays the same, up to rounding: training
adds up the gradients of all parts of a batch before each step, and evaluation answers each row by itself."""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.run_config import GENERATION_BATCH_ROWS, equal_parts
from distillery_api.spec.training import MAX_CHOSEN_BATCH_SIZE
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_api.status import StageStatus
from distillery_operator.core.observation import ObservedJob
from distillery_operator.planning.plan import Plan

_OUT_OF_MEMORY = frozenset({Reason.OUT_OF_MEMORY, Reason.CONTAINER_OOM_KILLED})


def ran_out_of_memory(job: ObservedJob) -> bool:
    """Whether memory was what the attempt lacked: its container's, or its device's."""
    return job.problem is not None and job.problem.reason in _OUT_OF_MEMORY


def batch_rows(plan: Plan, stage: Stage) -> int | None:
    """How many rows the stage has in memory at a time unless told otherwise, at most; None where that is not what fills
    it."""
    given = plan.spec.training.with_preset.batch_size
    return {Stage.TRAIN: given or MAX_CHOSEN_BATCH_SIZE, Stage.EVALUATE: GENERATION_BATCH_ROWS}.get(stage)


def more_parts(rows: int, record: StageStatus, result: StageResult | None = None) -> int | None:
    """Into how many equal parts to divide a batch of `rows` next, at least twice as many as before, also as the attempt
    itself has tried; None where each has one row already."""
    wanted = 2 * max(record.micro_batches or 1, (result and result.micro_batches) or 1)
    return equal_parts(rows, at_least=wanted)


def smaller_batches_sentence(rows: int, parts: int) -> str:
    """What the next attempt does."""
    return f"the next attempt has {rows // parts} of {rows} rows in memory at a time, and the same result"
