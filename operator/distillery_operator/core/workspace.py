"""Whether the workspace is still the one that holds the rows and models of this Distillation.

A claim may be deleted, replaced by another one or restored, and its name in the spec may change. What finished stages
left is in one claim, by its UID; with another one, every stage would run, and cost, again, and the server would find an
empty folder. Only a person may decide that, so nothing is started or changed meanwhile.
"""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_operator.core.observation import JobState, ObservedClaim, Ownership
from distillery_operator.core.problem import Problem
from distillery_operator.core.situation import Situation

_REMEDY = "restore the claim, or delete this Distillation and apply it again, which runs and pays for every stage again"


def workspace_problem(situation: Situation) -> Problem | None:
    """Why the workspace is not, or not much longer, that of the finished stages."""
    claim = situation.observation.claim
    if claim is None:
        return _deleted(situation)
    if claim.lost:
        return _lost_volume(situation)
    if claim.ownership is Ownership.TERMINATING:
        return _terminating(situation, claim)
    return _changed(situation, claim)


def recorded_workspace(situation: Situation, *, creates: bool) -> tuple[str | None, str | None]:
    """Name and UID of the workspace claim for the status: the one that finished stages belong to, even where there is
    another one now. `creates` says that the claim is being created. One without a volume holds nothing yet: its UID is
    written together with its capacity."""
    claim, previous = situation.observation.claim, situation.previous
    if claim is None:
        return (situation.plan.claim_name, None) if creates else (previous.workspace_claim, previous.workspace_uid)
    if workspace_problem(situation):
        return previous.workspace_claim or situation.plan.claim_name, previous.workspace_uid or claim.uid
    begun = claim.bound or _holds_results(situation)
    return situation.plan.claim_name, claim.uid if begun else previous.workspace_uid


def _deleted(situation: Situation) -> Problem | None:
    """A new claim would be empty."""
    if not _holds_results(situation):
        return None
    name, planned = situation.previous.workspace_claim, situation.plan.claim_name
    if name not in (None, planned) and situation.plan.spec.storage.claim_name is None:
        return Problem(Reason.WORKSPACE_LOST, _of_another(name, planned))
    message = f"the claim {planned} no longer exists, and with it the rows and models of finished stages; {_REMEDY}"
    return Problem(Reason.WORKSPACE_LOST, message)


def _of_another(name: str, planned: str) -> str:
    """The status comes from a backup, and this Distillation is a new object, whose claim would have another name."""
    return (
        f"the rows and models of finished stages are in the claim {name}, and the claim of this Distillation, which has"
        f" been made anew, would be {planned}; delete this Distillation, and apply it again with storage.claimName"
        f" {name}"
    )


def _lost_volume(situation: Situation) -> Problem:
    """A claim that has lost its volume does not get it back by itself."""
    is_given = situation.plan.spec.storage.claim_name is not None
    remedy = "restore the volume from a backup" if is_given else _REMEDY
    return Problem(Reason.WORKSPACE_LOST, f"the claim {situation.plan.claim_name} has lost its volume; {remedy}")


def _terminating(situation: Situation, claim: ObservedClaim) -> Problem | None:
    """A deleted claim lasts as long as a Pod that was scheduled uses it, even one that has ended, and no longer."""
    if not (_holds_results(situation) or _is_mounted(situation)):
        return None
    volume = claim.manifest["spec"].get("volumeName") or "VOLUME"
    return Problem(
        Reason.WORKSPACE_LOST,
        f"the claim {situation.plan.claim_name} is being deleted, and lasts only as long as Pods of this Distillation"
        f" do; to keep its rows and models, run kubectl patch pv {volume} -p"
        """ '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}' now, and restore the claim as docs/operations.md"""
        " says; to let them go, delete this Distillation",
    )


def _changed(situation: Situation, claim: ObservedClaim) -> Problem | None:
    """A person who has put the workspace's content into another claim says so by the retry annotation."""
    previous = situation.previous
    same = previous.workspace_uid in (None, claim.uid) and previous.workspace_claim in (
        None,
        situation.plan.claim_name,
    )
    if same or situation.retry_requested or not _holds_results(situation):
        return None
    return Problem(
        Reason.WORKSPACE_CHANGED,
        f"the claim {situation.plan.claim_name} is not the one in which stages were finished"
        f" ({previous.workspace_claim}, UID {previous.workspace_uid}); if it holds the same files, annotate this"
        " Distillation with distillery.dev/retry-at to use it; else bring the former claim back, or create another"
        " Distillation for this one",
    )


def _holds_results(situation: Situation) -> bool:
    """Whether the workspace holds something that was paid for, or that is served."""
    previous = situation.previous
    recorded = any(record.completion_time or record.usage for record in previous.stages)
    finished = any(job.state is JobState.DONE for job in situation.observation.jobs)
    return recorded or finished or bool(previous.history) or previous.serving is not None


def _is_mounted(situation: Situation) -> bool:
    observation = situation.observation
    return observation.server_holds_workspace or any(job.pod for job in observation.jobs)
