"""One reconciliation of one Distillation: observe, decide, write the status, act. Every event ends up here.

The status is written before the actions and already names what they create, so an operator that dies in between finds
its intention and carries on with it. Nothing is remembered between two reconciliations but what a running stage has
answered, and when a refused action was last tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any

from distillery_api.resource import KIND
from distillery_api.status import DistillationStatus
from distillery_operator.cluster.client import Cluster
from distillery_operator.cluster.parse_resource import read_distillation, read_metadata, read_status
from distillery_operator.cluster.status_writer import StatusWriter
from distillery_operator.controller.action_requests import ActionRequests, Outcome
from distillery_operator.controller.metrics import Metrics
from distillery_operator.controller.stage_reports import StageReports
from distillery_operator.controller.watch_health import MISSED_EVENT_SECONDS, WatchHealth
from distillery_operator.core.actions import Action, Apply, Create, decide
from distillery_operator.core.assessment import Assessment, assess
from distillery_operator.core.observation import Children, StageReport
from distillery_operator.core.observe import observe
from distillery_operator.core.refusals import kept_refusals
from distillery_operator.core.requeue import requeue_after
from distillery_operator.core.situation import Settings, Situation, names_to_read, plan_for
from distillery_operator.core.status import compute_status, invalid_status
from distillery_operator.errors import ClusterError, InvalidDistillation
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

Manifest = dict[str, Any]

UNWATCHED_REQUEUE_SECONDS = 1.0
"""How soon to observe a created object that is not watched."""

_NAME_CONFLICT_ATTEMPTS = 3


@dataclass(frozen=True)
class Dependencies:
    """What every reconciliation uses."""

    cluster: Cluster
    settings: Settings
    status_writer: StatusWriter
    metrics: Metrics
    watch_health: WatchHealth
    clock: Callable[[], datetime]
    stage_reports: StageReports


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
        self._requests = ActionRequests(self._cluster)

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
        resource = await self._cluster.get(KIND, *key)
        if resource is None or resource["metadata"].get("deletionTimestamp"):
            # Its children are deleted with it, by their owner references.
            self._forget(key)
            return None
        missed = self._dependencies.watch_health.read(key, resource["metadata"]["resourceVersion"], monotonic())
        requeue_seconds = await self._reconcile_resource(key, resource)
        if missed:
            return min(requeue_seconds or MISSED_EVENT_SECONDS, MISSED_EVENT_SECONDS) + 1
        return requeue_seconds

    async def _reconcile_resource(self, key: Key, resource: Manifest) -> float | None:
        previous, now = read_status(resource), self._dependencies.clock()
        try:
            distillation = read_distillation(resource)
        except InvalidDistillation as error:
            status = invalid_status(read_metadata(resource), previous, now, str(error))
            await self._write_status(key, resource, previous, status)
            return None
        plan = plan_for(distillation, self._dependencies.settings, previous)
        return await self._bring_about(key, _Reconciliation(resource, plan, previous, now))

    async def _bring_about(self, key: Key, reconciliation: _Reconciliation) -> float | None:
        """Observe, decide, write the status and act; again where the name of a new object turns out to be in use."""
        children = await self._children(reconciliation)
        for _ in range(_NAME_CONFLICT_ATTEMPTS):
            situation = self._situation(reconciliation, children)
            assessment = await self._assess(key, situation)
            actions = decide(assessment)
            report = self._stage_report(key, assessment)
            reconciliation = await self._record(reconciliation, assessment, report)
            outcome = await self._act(key, reconciliation, assessment, actions)
            if outcome.conflicting is None:
                break
            children = _with_child(children, outcome.conflicting)
        return self._requeue_seconds(key, assessment, outcome)

    async def _assess(self, key: Key, situation: Situation) -> Assessment:
        """What the situation means, with what the server refuses of what is to be done."""
        kept = kept_refusals(
            situation.previous, generation=situation.plan.generation, retry_requested=situation.retry_requested
        )
        accepted = assess(situation)
        refusals = await self._requests.check(key, decide(accepted), kept)
        return assess(replace(situation, refusals=refusals)) if refusals else accepted

    # --- observe

    async def _children(self, reconciliation: _Reconciliation) -> Children:
        """Everything that belongs to the Distillation, and the Events about what does not start."""
        plan, namespace = reconciliation.plan, reconciliation.plan.namespace
        selector, serving = names.child_selector(plan.name), names.serving_name(plan.name)
        jobs, pods, claim, deployment, service = await asyncio.gather(
            self._cluster.list_labelled("Job", namespace, selector),
            self._cluster.list_labelled("Pod", namespace, selector),
            self._cluster.get("PersistentVolumeClaim", namespace, plan.claim_name),
            self._cluster.get("Deployment", namespace, serving),
            self._cluster.get("Service", namespace, serving),
        )
        children = Children(claim=claim, jobs=jobs, pods=pods, deployment=deployment, service=service)
        for kind, name in names_to_read(plan, reconciliation.previous):
            if kind == "Job":
                children = _with_child(children, await self._cluster.get(kind, namespace, name))
        unexplained = observe(children, owner_uid=plan.uid, now=reconciliation.now).unexplained
        found = await asyncio.gather(*(self._cluster.events_about(namespace, name) for name in unexplained))
        return replace(children, events=tuple(event for events in found for event in events))

    def _situation(self, reconciliation: _Reconciliation, children: Children) -> Situation:
        return Situation(
            plan=reconciliation.plan,
            observation=observe(children, owner_uid=reconciliation.plan.uid, now=reconciliation.now),
            previous=reconciliation.previous,
            now=reconciliation.now.replace(microsecond=0),
            settings=self._dependencies.settings,
        )

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

    async def _act(
        self, key: Key, reconciliation: _Reconciliation, assessment: Assessment, actions: Sequence[Action]
    ) -> Outcome:
        """Carry out the actions, and record what the server refuses now, or no longer."""
        before = assessment.situation.refusals
        outcome = await self._requests.carry_out(key, actions, before)
        if outcome.refusals != before:
            situation = replace(assessment.situation, previous=reconciliation.previous, refusals=outcome.refusals)
            await self._record(reconciliation, assess(situation), StageReport())
        return outcome

    # --- and then

    def _requeue_seconds(self, key: Key, assessment: Assessment, outcome: Outcome) -> float | None:
        requeue, refused = requeue_after(assessment), self._requests.due_in(key, outcome.refusals)
        seconds = [requeue.total_seconds()] if requeue else []
        seconds += [refused] if refused is not None else []
        if assessment.situation.observation.running_job:
            seconds.append(max(self._dependencies.stage_reports.due_in(key), 1.0))
        if _made_unwatched(outcome.sent):
            seconds.append(UNWATCHED_REQUEUE_SECONDS)
        return min(seconds, default=None)

    def _forget(self, key: Key) -> None:
        self._dependencies.stage_reports.forget(key)
        self._requests.forget(key)
        self._dependencies.metrics.deleted(key)
        self._dependencies.watch_health.deleted(key)


def _made_unwatched(actions: Iterable[Action]) -> bool:
    """Whether a Service was written: Services are not watched."""
    return any(isinstance(action, Create | Apply) and action.manifest["kind"] == "Service" for action in actions)


def _with_child(children: Children, child: Manifest | None) -> Children:
    """The children and one more, which a query by label did not find."""
    if child is None:
        return children
    match child["kind"]:
        case "Job":
            others = (job for job in children.jobs if job["metadata"]["name"] != child["metadata"]["name"])
            return replace(children, jobs=(*others, child))
        case "PersistentVolumeClaim":
            return replace(children, claim=child)
        case "Deployment":
            return replace(children, deployment=child)
        case "Service":
            return replace(children, service=child)
    return children
