"""Which refused action is what a Distillation waits for, and which one only stands beside what goes on."""

from __future__ import annotations

from distillery_api.spec import RouteKind
from distillery_api.status import Refusal
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.stages import StagePhase

_LIFETIME = "spec.ttlSecondsAfterFinished"
_LIMITS = frozenset({_LIFETIME, "spec.activeDeadlineSeconds"})
"""Fields of a Job without which it runs all the same."""
_ATTEMPT = frozenset({"Pod", "PersistentVolumeClaim", "ConfigMap", "Job"})
"""Kinds of what an attempt needs; a Pod is only ever created in a dry run."""

_BESIDE_SERVER = frozenset({"PersistentVolumeClaim", *RouteKind})
"""Kinds of what the server can do without for the moment."""


def refusal_awaited_by_stage(assessment: Assessment) -> Refusal | None:
    """The refused action without which the current stage does not go on."""
    return next((each for each in assessment.situation.refusals if _is_awaited(assessment, each)), None)


def refusal_of_server(assessment: Assessment) -> Refusal | None:
    """The refused action without which the server does not become what the spec asks for."""
    unfulfilled = (each for each in assessment.situation.refusals if not _is_housekeeping(each))
    return next((each for each in unfulfilled if each.kind not in _BESIDE_SERVER), None)


def unfulfilled_refusal(assessment: Assessment) -> Refusal | None:
    """The refused action by which the cluster differs from the spec."""
    return next((each for each in assessment.situation.refusals if not _is_housekeeping(each)), None)


def _is_awaited(assessment: Assessment, refusal: Refusal) -> bool:
    current, live = assessment.stages.current, assessment.situation.observation.jobs
    match current.phase:
        case StagePhase.WAITING if refusal.verb == "delete":
            return refusal.kind == "Job" and any(job.live and job.name == refusal.name for job in live)
        case StagePhase.WAITING:
            return refusal.kind == "Pod"
        case StagePhase.STARTING:
            return refusal.verb != "delete" and refusal.field is None and refusal.kind in _ATTEMPT
        case StagePhase.REPLACING | StagePhase.UNDER_WAY:
            ours = current.job is not None and current.job.name == refusal.name
            return ours and refusal.kind == "Job" and refusal.field not in _LIMITS
    return False


def _is_housekeeping(refusal: Refusal) -> bool:
    """Whether the action only clears away what is no longer needed."""
    relabels = refusal.kind == "PersistentVolumeClaim" and (refusal.field or "").startswith("metadata.labels.")
    clears_away = refusal.verb == "delete" and refusal.kind in ("Job", "ConfigMap")
    return clears_away or relabels or refusal.field == _LIFETIME
