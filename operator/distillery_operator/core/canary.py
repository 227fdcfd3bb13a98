"""A canary: the candidate stands beside the server that it is to replace, is verified without any request of users,
gets a growing share of the requests, and takes over after the last step.

Which step it is in, and since when, is written to the status before anything is done about it; all else follows from
the objects that are there. So an operator that dies at any moment carries on with the same step. A candidate that fails
is a failed rollout (`core/rollback.py`), whose candidate is removed; the server before it has served all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from distillery_api.reasons import Reason
from distillery_api.spec import LARGEST_SHARE_OF_PODS, CanaryStep, RolloutStrategy, parse_duration
from distillery_api.stage import Stage
from distillery_api.status import Canary as CanaryStatus
from distillery_operator.core.canary_analysis import has_begun_anew, judged
from distillery_operator.core.canary_promotion import is_promoted, promotion_of
from distillery_operator.core.canary_shares import has_weights, is_by_weights, weight
from distillery_operator.core.observation import CanaryCounters, ObservedDeployment, Ownership
from distillery_operator.core.problem import Problem
from distillery_operator.core.retry_policy import lasting_since
from distillery_operator.core.runs import inputs_of, known_verification, run_named
from distillery_operator.core.server_progress import NOTHING, ServerProgress, server_progress
from distillery_operator.core.servers import (
    candidate_server,
    deployed_server,
    routed_percent,
    selected_server,
    served_model,
    server_for,
)
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates
from distillery_operator.manifests.server import Server

_UNREAD = "the Pods' /metrics have not been read; a network policy may keep the operator from them"
VERIFYING = 0
"""The step in which the candidate starts and is verified."""


@dataclass(frozen=True)
class Canary:
    """How far a candidate is on its way to replace the stable server."""

    stable: Server
    candidate: Server
    steps: tuple[CanaryStep, ...]
    step: int = VERIFYING
    """From 1; one more than there are while the candidate takes over."""
    since: datetime | None = None
    """Since when the candidate has had its share in this step."""
    answers: bool = False
    """Whether a Pod of the candidate answers behind its own Service."""
    is_alone: bool = False
    """Whether the Service selects the stable server's Pods only, and the route leads to no others."""
    progress: ServerProgress = NOTHING
    """What keeps the candidate from answering, or why it has failed."""
    start: CanaryCounters | None = None
    """What both servers' Pods had counted when the step began."""
    lacks: str | None = None
    """What there is too little of to judge the candidate by (`rollout.analysis`)."""
    left_over: str | None = None
    """The annotation that promotes, as it was when the canary began."""

    @property
    def takes_requests(self) -> bool:
        """Whether the candidate gets requests of users."""
        return self.step > VERIFYING

    @property
    def takes_over(self) -> bool:
        """Whether all steps are over."""
        return self.step > len(self.steps)

    @property
    def current(self) -> CanaryStep | None:
        """The step under way; None before the first and after the last."""
        return self.steps[self.step - 1] if self.takes_requests and not self.takes_over else None

    @property
    def percent(self) -> int:
        """Share of the requests that the candidate should get, in percent."""
        return self.current.percent if self.current else 100 * self.takes_over

    @property
    def may_start(self) -> bool:
        """Whether the candidate's Pods may come: while it is to get no requests, none must lead to them."""
        return self.takes_requests or self.is_alone

    @property
    def is_under_way(self) -> bool:
        """Whether the candidate has its share in a step."""
        return self.since is not None and self.current is not None

    @property
    def is_paused(self) -> bool:
        """Whether a person has to promote the candidate."""
        return self.is_under_way and self.current is not None and self.current.duration is None

    @property
    def due(self) -> datetime | None:
        """When the step under way ends by itself."""
        if self.since is None or self.current is None or self.current.duration is None:
            return None
        return self.since + parse_duration(self.current.duration)

    @property
    def name(self) -> str:
        """What a person calls the candidate by: its run, or its server where the run is served already."""
        is_new = self.candidate.model.train_hash != self.stable.model.train_hash
        return self.candidate.model.train_hash if is_new else self.candidate.digest

    @property
    def promotion(self) -> str:
        """What a person sets the annotation to, to let the candidate pass its present step."""
        return promotion_of(self.left_over, self.name, self.step)

    def replicas(self, stable: int) -> int:
        """The candidate's Pods beside so many of the stable server, so that each Pod has the same share."""
        percent = self.current.percent if self.current else self.steps[-1].percent if self.takes_over else 1
        percent = min(percent, LARGEST_SHARE_OF_PODS)  # The spec asks for more only where weights make the share.
        return max(1, round(stable * percent / (100 - percent)))


def canary(situation: Situation, states: StageStates, wanted: Server) -> Canary | None:
    """The canary by which `wanted` is to replace the server that is deployed; None where it takes over otherwise."""
    stable = _stable_server(situation) if uses_canary(situation, wanted) else None
    if stable is None or not _replaces(stable, wanted):
        return None
    steps, promoted = situation.plan.spec.serving.rollout.canary_steps, situation.plan.promoted
    before = _resumed(situation, Canary(stable, wanted, steps, left_over=promoted))
    return _advanced(situation, states, _judged(situation, _observed(situation, before)))


def uses_canary(situation: Situation, wanted: Server) -> bool:
    """Whether `wanted` takes over by a canary. Two servers cannot use a volume that only one node can mount."""
    serving = situation.plan.spec.serving
    chosen = serving.rollout.strategy is RolloutStrategy.CANARY and serving.pinned_run is None
    return chosen and can_stand_beside(situation, wanted) and serving.replicas > 0


def can_stand_beside(situation: Situation, server: Server) -> bool:
    """Whether Pods of the server can run beside others, on any node."""
    return situation.volume_is_shared or not server.uses_workspace


def reads_counters(situation: Situation, canary: Canary | None) -> bool:
    """Whether the Pods of both servers are to be asked what they have counted."""
    return canary is not None and canary.is_under_way and situation.plan.spec.serving.rollout.analysis is not None


def missed_canary(situation: Situation, wanted: Server | None) -> str | None:
    """Why a new server takes over without a canary although the spec asks for one."""
    if wanted is None or not situation.plan.has_candidates or can_stand_beside(situation, wanted):
        return None
    return (
        f"no canary is possible, since only one node can mount the claim {situation.plan.claim_name}: the server before"
        " stops first"
    )


def candidate_pods(situation: Situation, canary: Canary) -> int:
    """How many Pods the candidate needs for its share. Where weights make the shares, as many as the server itself has
    would do for all requests."""
    server = situation.plan.spec.serving.replicas
    pods = canary.replicas(server)
    return min(pods, server) if has_weights(situation) else pods


def candidate_weight(situation: Situation, canary: Canary | None) -> int:
    """What the route is to lead to the candidate, in percent; 0 where it has none of the shares."""
    if canary is None or canary.current is None or not canary.answers or not is_by_weights(situation):
        return 0
    return weight(situation.observation, canary.current.percent, candidate_pods(situation, canary))


def stable_is_selected_alone(situation: Situation, canary: Canary) -> bool:
    """Whether the Service is to select the stable server's Pods only."""
    return not canary.takes_requests or (is_by_weights(situation) and not canary.takes_over)


def _stable_server(situation: Situation) -> Server | None:
    """The server whose Pods serve, and no others but a candidate's. Where somebody has deleted its Deployment in the
    middle of a canary, it is made again."""
    deployed = deployed_server(situation)
    if deployed is None:
        return _made_again(situation)
    return deployed if _has_served(situation, deployed) else None


def _made_again(situation: Situation) -> Server | None:
    serving = situation.previous.serving
    before, model = (serving.canary, served_model(situation)) if serving else (None, None)
    under_way = before is not None and before.percent < 100
    return server_for(situation, model) if under_way and model else None


def unsettled_server(situation: Situation, wanted: Server) -> Server | None:
    """The deployed server, where its Pods are still replacing others that serve, and `wanted` is to replace it by a
    canary: that begins once they have."""
    serving, deployed = situation.previous.serving, deployed_server(situation)
    if deployed is None or not uses_canary(situation, wanted) or not _replaces(deployed, wanted):
        return None
    is_first = serving is None or serving.server is None
    return None if is_first or _has_served(situation, deployed) else deployed


def _has_served(situation: Situation, deployed: Server) -> bool:
    """Whether the Pods of the deployed server have replaced all others: the status says so, or they all are its own and
    answer."""
    serving, seen = situation.previous.serving, situation.observation.deployment
    if serving and serving.server == deployed.digest:
        return True
    return seen is not None and seen.rolled_out and seen.available > 0


def _replaces(stable: Server, wanted: Server) -> bool:
    """Whether the spec asks for another server. A restart, or a rollout of the fleet, asks for the same one again; one
    of a release without labels of servers cannot be told from its candidate."""
    return stable.identity != wanted.identity and bool(stable.pod_label)


def _resumed(situation: Situation, begun: Canary) -> Canary:
    """The canary where the status says that it is; where its steps have changed, at its first step again."""
    serving = situation.previous.serving
    before = serving.canary if serving else None
    if before is None or before.server != begun.candidate.digest:
        return begun
    resumed = replace(begun, step=before.step, left_over=_still_left_over(situation, before))
    if before.step == VERIFYING:
        return resumed
    if before.percent == 100:
        return replace(resumed, step=len(begun.steps) + 1)
    if before.step > len(begun.steps) or resumed.percent != before.percent:
        return replace(begun, step=1)
    since = before.since and lasting_since(before.since, situation.now)
    return replace(resumed, since=since, start=_start_of(before))


def _still_left_over(situation: Situation, before: CanaryStatus) -> str | None:
    """The value of the annotation from before the canary, until somebody sets or removes it."""
    return before.left_over if before.left_over == situation.plan.promoted else None


def _start_of(before: CanaryStatus) -> CanaryCounters | None:
    stable, candidate = before.stable_start, before.candidate_start
    return CanaryCounters(stable, candidate) if stable and candidate else None


def _observed(situation: Situation, canary: Canary) -> Canary:
    observation, seen = situation.observation, situation.observation.candidate
    service, selected = observation.candidate_service, selected_server(observation)
    alone = selected == canary.stable.pod_label and not routed_percent(observation)
    stands = _digest(candidate_server(situation)) == canary.candidate.digest
    reachable = service is not None and service.ownership is Ownership.OURS
    if seen is None or not stands:
        return replace(canary, is_alone=alone)
    answers = reachable and (seen.available > 0 if canary.takes_requests else seen.rolled_out)
    progress = NOTHING if answers else server_progress(situation, seen, _silence(canary, seen))
    return replace(canary, answers=answers, is_alone=alone, progress=progress)


def _judged(situation: Situation, canary: Canary) -> Canary:
    """The canary with what the Pods' counters say about the candidate, where the spec sets bounds."""
    bounds, now = situation.plan.spec.serving.rollout.analysis, situation.counters
    if bounds is None or not canary.is_under_way:
        return canary
    if now is None:
        return replace(canary, lacks=_UNREAD)
    start = now if canary.start is None or has_begun_anew(canary.start, now) else canary.start
    finding = judged(bounds, start, now)
    failed = ServerProgress(finding.problem, stalled=True) if finding.problem else canary.progress
    return replace(canary, start=start, progress=failed, lacks=finding.lacks)


def _digest(server: Server | None) -> str | None:
    return server.digest if server else None


def _silence(canary: Canary, seen: ObservedDeployment) -> Problem | None:
    """A candidate that has answered before should."""
    if not canary.takes_requests or seen.available:
        return None
    return Problem(Reason.ROLLOUT_FAILED, "no Pod of the candidate is ready")


def _advanced(situation: Situation, states: StageStates, canary: Canary) -> Canary:
    """The canary with what happens to it at this moment: at most one thing."""
    if canary.takes_over or not canary.answers or canary.progress.stalled:
        return canary
    if canary.step == VERIFYING:
        return replace(canary, step=1) if _is_verified(situation, states, canary.candidate) else canary
    if canary.since is None:
        return replace(canary, since=situation.now) if _has_share(situation, canary) else canary
    return replace(canary, step=canary.step + 1, since=None, start=None) if _is_over(situation, canary) else canary


def _has_share(situation: Situation, canary: Canary) -> bool:
    wanted = candidate_weight(situation, canary)
    return wanted == routed_percent(situation.observation) if wanted else not canary.is_alone


def _is_verified(situation: Situation, states: StageStates, candidate: Server) -> bool:
    """Whether the candidate is verified, or cannot be before the next student is evaluated."""
    if known_verification(situation, candidate.digest) or states.done(Stage.EVALUATE) is None:
        return True
    run = run_named(situation, candidate.model.train_hash)
    is_newest = candidate.model.train_hash == situation.plan.stage(Stage.TRAIN).input_hash
    return not is_newest and (run is None or not inputs_of(run))


def _is_over(situation: Situation, canary: Canary) -> bool:
    """Whether the step has lasted long enough and met enough requests; a person need not wait for these."""
    promoted = _is_promoted(situation, canary)
    has_lasted = situation.now >= canary.due if canary.due else promoted
    return has_lasted and (canary.lacks is None or promoted)


def _is_promoted(situation: Situation, canary: Canary) -> bool:
    return is_promoted(situation.plan.promoted, canary.left_over, canary.name, canary.step)
