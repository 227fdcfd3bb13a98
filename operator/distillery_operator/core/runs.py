"""The finished runs that the status remembers, and what is known about their servers."""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import Run
from distillery_api.verification import Verification
from distillery_operator.core.problem import Problem
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.server import UNKNOWN_PRECISION, ServedModel, adapter_of
from distillery_operator.planning.plan import PlannedStage


def train_hash(run: Run) -> str:
    """The hash that names a run. Earlier releases wrote only the model's folder, `train-HASH/model`."""
    return run.train or run.model_path.partition("/")[0].removeprefix(f"{Stage.TRAIN}-")


def run_named(situation: Situation, name: str) -> Run | None:
    """The run of that training."""
    return next((run for run in situation.previous.history if train_hash(run) == name), None)


def pinned_run(situation: Situation) -> Run | None:
    """The run that `serving.pinnedRun` names, if it is known."""
    name = situation.plan.spec.serving.pinned_run
    run = run_named(situation, name) if name else None
    return run if run and _can_be_served(situation, run) else None


def _can_be_served(situation: Situation, run: Run) -> bool:
    """Whether all that it was made of is known, and its model is where the spec has models served from."""
    if situation.plan.model_image:
        return bool(inputs_of(run)) and image_of(situation, run) is not None
    return bool(inputs_of(run)) and f"{Stage.TRAIN}-{train_hash(run)}" not in situation.previous.prunable_folders


def image_of(situation: Situation, run: Run) -> str | None:
    """The image that the present spec has the run's student served from, where it was pushed there."""
    wanted = situation.plan.model_image
    return run.model_image if wanted and wanted.holds(run.model_image) else None


def pin_problem(situation: Situation) -> Problem | None:
    """Why the pinned run cannot be served."""
    name = situation.plan.spec.serving.pinned_run
    if not situation.plan.served or name is None or pinned_run(situation):
        return None
    known = ", ".join(train_hash(run) for run in situation.previous.history if _can_be_served(situation, run))
    why = _why_not_served(situation, name)
    none = "none of the known ones can be served" if situation.previous.history else "no run has finished yet"
    listed = f"known are {known}" if known else none
    return Problem(Reason.INVALID_SPEC, f"serving.pinnedRun: {why}; {listed}. Remove pinnedRun to serve the newest run")


def _why_not_served(situation: Situation, name: str) -> str:
    run = run_named(situation, name)
    if run is None:
        return f"there is no run {name} in status.history"
    if not inputs_of(run):
        return f"the run {name} is of an earlier release, which did not write down what it was made of"
    if image := situation.plan.model_image:
        return f"the run {name} was never pushed to {image.repository} (serving.modelImage)"
    return f"the model of the run {name} has been deleted (storage.history), or is about to be"


def model_of(situation: Situation, run: Run) -> ServedModel:
    """The student of a run."""
    precision, image = run.precision or UNKNOWN_PRECISION, image_of(situation, run)
    return ServedModel(train_hash(run), run.model_path, run.student_prompt or "", precision, image, adapter_of(run))


def inputs_of(run: Run) -> tuple[PlannedStage, ...]:
    """The stages of a run; empty where an earlier release did not write them down."""
    hashes = {Stage.GENERATE: run.generate, Stage.TRAIN: run.train, Stage.EVALUATE: run.evaluate}
    if None in hashes.values():
        return ()
    return tuple(PlannedStage(stage, input_hash or "") for stage, input_hash in hashes.items())


def known_verification(situation: Situation, digest: str) -> Verification | None:
    """How the server with that digest answered when it was verified."""
    serving = situation.previous.serving
    found = [run.verification for run in situation.previous.history]
    known = (each for each in (serving and serving.verification, *found) if each)
    return next((each for each in known if each.server == digest), None)
