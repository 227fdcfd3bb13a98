"""The student that is served while a new one is made, and whether the quality gate compares the two.

The comparison is part of the evaluation. Where another student has come to be served since (after a roll-back, or where
the gate was added later), the finished evaluation gets one more attempt, which asks that student alone.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from distillery_api.evaluation import Evaluation
from distillery_api.run_config import ServingStudent
from distillery_api.spec import AgainstServing
from distillery_api.stage import Stage
from distillery_api.status import StageStatus
from distillery_operator.core.servers import served_model
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.server import ServedModel
from distillery_operator.planning.plan import PlannedStage


def serving_student(situation: Situation) -> ServingStudent | None:
    """The student that the newest one has to be compared with; None without such a gate, and where nothing else is
    served."""
    plan, model = situation.plan, served_model(situation)
    gate = plan.spec.evaluation.gate
    compares = plan.served and gate is not None and gate.against_serving is not AgainstServing.IGNORE
    if not compares or model is None or model.train_hash == plan.stage(Stage.TRAIN).input_hash:
        return None
    return ServingStudent(hash=model.train_hash, folders=_folders(situation, model))


def compared_hash(situation: Situation, planned: PlannedStage) -> str | None:
    """Hash of the student that an attempt at this stage compares with the newest one."""
    student = serving_student(situation) if planned.stage is Stage.EVALUATE else None
    return student.hash if student else None


def compares_anew(situation: Situation, record: StageStatus) -> bool:
    """Whether a finished evaluation is still to be compared with the student that is served now. Where it could not be,
    the retry annotation asks for it again. Nothing is to be decided while a run is pinned."""
    if situation.plan.spec.serving.pinned_run:
        return False
    student = serving_student(situation) if record.name is Stage.EVALUATE and record.completion_time else None
    if student is None:
        return False
    table = result_table(situation, record)
    comparison = table.serving_comparison if table else None
    if comparison is None or comparison.hash != student.hash:
        return record.compared_with != student.hash or situation.retry_requested
    return comparison.problem is not None and situation.retry_requested


def compares_otherwise(situation: Situation, planned: PlannedStage, record: StageStatus) -> bool:
    """Whether an attempt would compare the newest student with another one, or with none, than the last one did."""
    return record.compared_with != compared_hash(situation, planned)


def result_table(situation: Situation, record: StageStatus) -> Evaluation | None:
    """The result table of a finished evaluation: in the result of its Job until the status has it."""
    known = any(before.job == record.job and before.completion_time for before in situation.previous.stages)
    if known:
        return situation.previous.evaluation
    job = situation.observation.job_named(record.job)
    return job.result.evaluation if job and job.result else None


def _folders(situation: Situation, model: ServedModel) -> dict[Stage, str]:
    runs = (run for run in situation.previous.history if run.model_path == model.model_path)
    paths = {
        Stage.GENERATE: model.student_prompt,
        Stage.TRAIN: model.model_path,
        Stage.EVALUATE: next((run.evaluation for run in runs), None) or "",
    }
    return {stage: PurePosixPath(path).parts[0] for stage, path in paths.items() if path}
