"""Actions that the API server refuses: what is kept of a refusal, and what must wait for it.

A refusal stands in the status until its action succeeds or is no longer wanted, or the spec or the retry annotation
changes. Other actions go on, but for those that need the refused one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_api.status import DistillationStatus, Refusal
from distillery_operator.core.actions import Action, Apply, Create, Delete, DryRun, Merge
from distillery_operator.core.problem import STAGE_MESSAGE_LIMIT
from distillery_operator.core.quota import frees_itself
from distillery_operator.errors import AdmissionFailed, ClusterError, Invalid, Refused

Subject = tuple[str, str, str, str | None]
"""Verb, kind, name and field of an action: what a refusal is about."""

KEPT = 8
"""Refusals in the status."""

_NEEDED = {
    "PersistentVolumeClaim": {"Pod"},
    "ConfigMap": {"Pod", "PersistentVolumeClaim"},
    "Job": {"Pod", "PersistentVolumeClaim", "ConfigMap"},
}
"""Kinds that must not be refused where an object of a kind is to be created: an attempt starts as a whole or not at
all. A Pod is only ever created in a dry run."""


def subject(action: Action) -> Subject:
    """What a refusal of the action would be about."""
    match action:
        case DryRun(manifest) | Create(manifest):
            return "create", manifest["kind"], manifest["metadata"]["name"], None
        case Apply(manifest):
            return "patch", manifest["kind"], manifest["metadata"]["name"], None
        case Merge(kind, name, patch):
            return "patch", kind, name, _field(patch)
        case Delete(kind, name):
            return "delete", kind, name, None


def _field(patch: object) -> str:
    """The path of the first field that a merge patch changes."""
    steps = []
    while isinstance(patch, dict) and patch:
        step, patch = next(iter(patch.items()))
        steps.append(str(step))
    return ".".join(steps)


def about(refusal: Refusal) -> Subject:
    """What the refusal is about."""
    return refusal.verb, refusal.kind, refusal.name, refusal.field


def refusal(action: Action, error: ClusterError) -> Refusal:
    """What is kept of the server's refusal of an action."""
    verb, kind, name, field = subject(action)
    message = cleaned(str(error), STAGE_MESSAGE_LIMIT)
    return Refusal(verb=verb, kind=kind, name=name, field=field, reason=str(_reason(error)), message=message)


def _reason(error: ClusterError) -> Reason:
    """Queued where time may remove the cause: a full quota, or an admission webhook that does not answer."""
    if isinstance(error, AdmissionFailed) or frees_itself(str(error)):
        return Reason.QUEUED
    return Reason.INVALID_SPEC if isinstance(error, Invalid) else Reason.POD_REFUSED


def has_room_by_then(check: DryRun, error: Refused) -> bool:
    """Whether a quota is full, and the Pods that end before leave the Pod as much room as it asks for."""
    return check.replaces_equal and frees_itself(str(error))


def kept_refusals(previous: DistillationStatus, *, generation: int, retry_requested: bool) -> tuple[Refusal, ...]:
    """The refusals that still count: a changed spec or the retry annotation has everything tried at once."""
    changed = retry_requested or previous.observed_generation != generation
    return () if changed else previous.refused


def still_wanted(refusals: Iterable[Refusal], actions: Iterable[Action]) -> tuple[Refusal, ...]:
    """The refusals of actions that are still to be carried out."""
    wanted = {subject(action) for action in actions}
    return tuple(each for each in refusals if about(each) in wanted)


def with_refusal(refusals: Sequence[Refusal], new: Refusal) -> tuple[Refusal, ...]:
    """The refusals with a new one, in the place of the former one about the same; where there are too many, without
    the last of what was only to be cleared away."""
    replaced = tuple(new if about(each) == about(new) else each for each in refusals)
    all_refusals = replaced if new in replaced else (*replaced, new)
    if len(all_refusals) <= KEPT:
        return all_refusals
    surplus = next((each for each in reversed(all_refusals) if each.verb == "delete"), new)
    return tuple(each for each in all_refusals if each is not surplus)


def without(refusals: Iterable[Refusal], action: Action) -> tuple[Refusal, ...]:
    """The refusals without that of an action that has succeeded."""
    return tuple(each for each in refusals if about(each) != subject(action))


def is_held_back(action: Action, refusals: Iterable[Refusal]) -> bool:
    """Whether the action needs another one that is refused."""
    verb, kind, name, _ = subject(action)
    if verb == "delete":
        return kind == "ConfigMap" and any(_is_deletion_of_job_with(name, each) for each in refusals)
    written = isinstance(action, Create | Apply)
    return written and any(each.verb != "delete" and _needs(kind, name, each) for each in refusals)


def _is_deletion_of_job_with(config_map: str, refusal: Refusal) -> bool:
    return (refusal.verb, refusal.kind) == ("delete", "Job") and refusal.name.startswith(f"{config_map}-")


def _needs(kind: str, name: str, refusal: Refusal) -> bool:
    if refusal.field is not None:
        return False
    if kind == "Deployment":
        return refusal.kind == "Pod" and refusal.name == f"{name}-check"
    return refusal.kind in _NEEDED.get(kind, ())
