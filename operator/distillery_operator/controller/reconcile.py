"""One reconciliation of one Distillation: observe, decide, write the status, act. Every event ends up here.

The status is written before the actions and already names what they create, so an operator that dies in between finds
its intention and carries on with it. What there is comes from the object cache, which may be behind: a status is
written only over the version that was read, and before anything is created or deleted without such a write, the server
is asked whether the Distillation still is as it was read. What is remembered between two reconciliations (plans, dry
runs that were accepted, Events and claims that were read, what stages and canaries have answered, when a refused action
was last tried) spares work or requests, and nothing is lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any

from distillery_api.resource import KIND
from distillery_api.spec import RouteKind
from distillery_api.status import DistillationStatus
from distillery_operator.cluster.client import Cluster
from distillery_operator.cluster.parse_resource import read_metadata, read_status
from distillery_operator.cluster.status_writer import StatusWriter
from distillery_operator.controller.action_requests import ActionRequests, Outcome
from distillery_operator.controller.canary_readings import CanaryReadings
from distillery_operator.controller.fleet_rollout import FleetRollout
from distillery_operator.controller.known_children import KnownChildren, with_child
from distillery_operator.controller.metrics import Metrics
from distillery_operator.controller.recent_plans import RecentPlans
from distillery_operator.controller.stage_reports import StageReports
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.core.actions import Action, Apply, Create, Delete, decide
from distillery_operator.core.assessment import Assessment, assess
from distillery_operator.core.canary import reads_counters
from distillery_operator.core.fleet import fleet_state
from distillery_operator.core.observation import Children, StageReport
from distillery_operator.core.refusals import kept_refusals
from distillery_operator.core.requeue import requeue_after
from distillery_operator.core.situation import Settings, Situation
from distillery_operator.core.status import compute_status, invalid_status
from distillery_operator.errors import ClusterError, Conflict, InvalidDistillation, NotFound
from distillery_operator.planning.plan import Plan

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

Manifest = dict[str, Any]


_NAME_CONFLICT_ATTEMPTS = 3
_UNCHANGING = {"Service", *RouteKind}
JOB_SECONDS = 1.0
"""How soon to reconcile again after a Job was created, if no event asks for it before."""


@dataclass(frozen=True)
class Dependencies:
    """What every reconciliation uses."""

    cluster: Cluster
    settings: Settings
    status_writer: StatusWriter
    metrics: Metrics
    watch_health: WatchHealth
    clock: Callable[[], datetime]
    cache_is_complete: Callable[[str], bool]
    """Whether all that exists in a namespace is known."""
    written: Callable[[Iterable[str]], None]
    """Called with the kinds of the objects that were written."""
    stage_reports: StageReports
    canary_readings: CanaryReadings
    fleet: FleetRollout


@dataclass(frozen=True)
class _Reconciliation:
    """What is known at the start of one reconciliation; `resource` and `previous` follow what it writes."""

    resource: Manifest
    plan: Plan
    previous: DistillationStatus
    now: datetime


class Reconciler:
    """Brings one Distillation at a time nearer to its spec.

    Calling it returns the seconds after which to reconcile again, or None where an event will cause it. It raises an
    OperatorError where the reconciliation could not be completed; then it is to be called again.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies, self._cluster = dependencies, dependencies.cluster
        self._plans, self._requests = RecentPlans(dependencies.settings), ActionRequests(self._cluster)
        self._children = KnownChildren(self._cluster, self._plan_of)

    async def __call__(self, key: Key) -> float | None:
        """One reconciliation, timed."""
        started, outcome = monotonic(), "error"
        try:
            requeue_seconds = await self._reconcile(key)
            outcome = "ok"
        except ClusterError:
            outcome = "retry"
            raise
        finally:
            self._dependencies.metrics.reconciled(outcome, monotonic() - started)
        return requeue_seconds

    async def _reconcile(self, key: Key) -> float | None:
        if not self._dependencies.cache_is_complete(key[0]):
            return None  # It is added again once everything in its namespace is known.
        resource = self._cluster.cache.get(KIND, *key)
        if resource is None or resource["metadata"].get("deletionTimestamp"):
            # Its children are deleted with it, by their owner references.
            self._forget(key)
            return None
        try:
            return await self._reconcile_resource(key, resource)
        except (Conflict, NotFound):
            await self._cluster.get(KIND, *key)  # The cache was behind.
            raise

    async def _reconcile_resource(self, key: Key, resource: Manifest) -> float | None:
        previous, now = read_status(resource), self._dependencies.clock()
        try:
            plan = self._plans.plan(resource, previous)
        except InvalidDistillation as error:
            status = invalid_status(read_metadata(resource), previous, now, str(error))
            await self._write_status(key, resource, previous, status)
            return None
        return await self._bring_about(key, _Reconciliation(resource, plan, previous, now))

    def _plan_of(self, resource: Manifest) -> Plan | None:
        """The plan of another Distillation, which shares the server with this one; None where its spec is invalid."""
        try:
            return self._plans.plan(resource, read_status(resource))
        except InvalidDistillation:
            return None

    async def _bring_about(self, key: Key, reconciliation: _Reconciliation) -> float | None:
        """Observe, decide, write the status and act; again where the name of a new object turns out to be in use."""
        plan, previous, read = reconciliation.plan, reconciliation.previous, reconciliation.resource
        children = await self._children.collect(plan, previous)
        for _ in range(_NAME_CONFLICT_ATTEMPTS):
            situation = await self._situation(key, reconciliation, children)
            assessment, actions = await self._decide(key, situation)
            report = self._stage_report(key, assessment)
            before, reconciliation = reconciliation, await self._record(reconciliation, assessment, report)
            if before.resource is reconciliation.resource:
                await self._confirm(key, reconciliation, assessment, actions)
            outcome = await self._act(key, reconciliation, assessment, actions)
            self._dependencies.written(_kinds_written(outcome.sent))
            if outcome.conflicting is None:
                break
            children = with_child(children, outcome.conflicting, plan.name)
        if "Job" in _kinds_written(outcome.sent):
            # Its Job and its Pod are about to change anyway.
            return JOB_SECONDS
        if reconciliation.resource is not read or _made_unchanging(outcome.sent) or outcome.found_gone:
            # Neither our own status, nor a new Service or route, nor what was gone before causes an event of somebody
            # else's.
            return 0.0
        return self._requeue_seconds(key, assessment, outcome)

    async def _decide(self, key: Key, situation: Situation) -> tuple[Assessment, Sequence[Action]]:
        """What the situation means and what is to be done, with what the server refuses of it."""
        kept = kept_refusals(
            situation.previous, generation=situation.plan.generation, retry_requested=situation.retry_requested
        )
        accepted = assess(situation)
        actions = decide(accepted)
        refusals = await self._requests.check(key, actions, kept)
        if not refusals:
            return accepted, actions
        assessment = assess(replace(situation, refusals=refusals))
        return assessment, decide(assessment)

    # --- observe

    async def _situation(self, key: Key, reconciliation: _Reconciliation, children: Children) -> Situation:
        situation = Situation(
            plan=reconciliation.plan,
            observation=await self._children.observe(reconciliation.plan, children, reconciliation.now),
            previous=reconciliation.previous,
            now=reconciliation.now.replace(microsecond=0),
            settings=self._dependencies.settings,
            counters=self._dependencies.canary_readings.latest(key),
        )
        turn = self._dependencies.fleet.has_turn(key, fleet_state(situation))
        return replace(situation, fleet_turn=turn)

    def _stage_report(self, key: Key, assessment: Assessment) -> StageReport:
        running = assessment.situation.observation.running_job
        if running is None or running.pod_ip is None:
            self._dependencies.stage_reports.forget(key)
            return StageReport()
        return self._dependencies.stage_reports.take(key, running.pod_ip)

    # --- write the status

    async def _record(
        self, reconciliation: _Reconciliation, assessment: Assessment, report: StageReport
    ) -> _Reconciliation:
        status, previous = compute_status(assessment, report), reconciliation.previous
        key = reconciliation.plan.namespace, reconciliation.plan.name
        resource = await self._write_status(key, reconciliation.resource, previous, status)
        return replace(reconciliation, resource=resource, previous=status)

    async def _write_status(
        self, key: Key, resource: Manifest, previous: DistillationStatus, status: DistillationStatus
    ) -> Manifest:
        self._dependencies.metrics.status_written(key, status)
        return await self._dependencies.status_writer.write(resource, previous, status)

    # --- act

    async def _confirm(
        self, key: Key, reconciliation: _Reconciliation, assessment: Assessment, actions: Sequence[Action]
    ) -> None:
        """Raises Conflict where the Distillation is not what the actions follow from: the cache may be behind, and what
        a stage costs, or a Job that is deleted, cannot be given back."""
        refusals = assessment.situation.refusals
        final = (action for action in actions if isinstance(action, Create | Delete))
        if not any(self._requests.is_to_send(key, action, refusals) for action in final):
            return
        version, now = reconciliation.resource["metadata"]["resourceVersion"], await self._cluster.get(KIND, *key)
        if now is None or now["metadata"]["resourceVersion"] != version:
            raise Conflict(f"{KIND} {key[1]} has changed since version {version}", status=409, reason="Conflict")

    async def _act(
        self, key: Key, reconciliation: _Reconciliation, assessment: Assessment, actions: Sequence[Action]
    ) -> Outcome:
        """Carry out the actions, and record what the server refuses now, or no longer."""
        before = assessment.situation.refusals
        outcome = await self._requests.carry_out(key, actions, before)
        if outcome.refusals != before:
            situation = replace(assessment.situation, previous=reconciliation.previous, refusals=outcome.refusals)
            await self._record(reconciliation, assess(situation), StageReport())
        if outcome.failure:
            raise outcome.failure
        return outcome

    # --- and then

    def _requeue_seconds(self, key: Key, assessment: Assessment, outcome: Outcome) -> float | None:
        requeue, refused = requeue_after(assessment), self._requests.due_in(key)
        seconds = [requeue.total_seconds()] if requeue else []
        seconds += [refused] if refused is not None else []
        if assessment.situation.observation.running_job:
            seconds.append(max(self._dependencies.stage_reports.due_in(key), 1.0))
        if reads_counters(assessment.situation, assessment.rollout.canary):
            seconds.append(self._dependencies.canary_readings.ask(key, assessment.situation.observation))
        else:
            self._dependencies.canary_readings.forget(key)
        waits_for_turn = self._dependencies.fleet.requeue_seconds(key)
        seconds += [waits_for_turn] if waits_for_turn is not None else []
        return min(seconds, default=None)

    def _forget(self, key: Key) -> None:
        self._dependencies.stage_reports.forget(key)
        self._dependencies.canary_readings.forget(key)
        self._requests.forget(key)
        self._dependencies.fleet.forget(key)
        self._dependencies.metrics.deleted(key)
        self._dependencies.watch_health.deleted(key)


def _kinds_written(actions: Iterable[Action]) -> list[str]:
    return [action.manifest["kind"] for action in actions if isinstance(action, Create | Apply)]


def _made_unchanging(actions: Iterable[Action]) -> bool:
    """Whether something was written that no controller needs to change afterwards."""
    return not _UNCHANGING.isdisjoint(_kinds_written(actions))
