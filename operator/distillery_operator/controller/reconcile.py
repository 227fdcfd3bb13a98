"""One reconciliation of one Distillation: observe, decide, write the status, act. Every event ends up here.

The status is written before the actions and already names what they create, so an operator that dies in between finds
its intention and carries on with it. Nothing is remembered between two reconciliations but when a stage was last asked
for its progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.resource import KIND
from distillery_api.status import ConditionType, DistillationStatus
from distillery_operator.cluster.client import Cluster
from distillery_operator.cluster.parse_resource import read_distillation, read_metadata, read_status
from distillery_operator.cluster.status_writer import StatusWriter
from distillery_operator.controller.metrics import Metrics
from distillery_operator.controller.watch_health import MISSED_EVENT_SECONDS, WatchHealth
from distillery_operator.core.actions import Action, Apply, Create, Delete, DryRun, Merge, Suspend, decide
from distillery_operator.core.assessment import Assessment, assess
from distillery_operator.core.observation import Children, StageReport
from distillery_operator.core.observe import observe
from distillery_operator.core.problem import Problem
from distillery_operator.core.requeue import requeue_after
from distillery_operator.core.situation import Settings, Situation, find_condition, names_to_read, plan_for
from distillery_operator.core.status import compute_status, invalid_status
from distillery_operator.errors import AlreadyExists, ClusterError, Forbidden, Invalid, InvalidDistillation
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

Manifest = dict[str, Any]

ReadStageReport = Callable[[str], Awaitable[StageReport]]
"""Asks the stage at a Pod's address for its report."""

REFUSED_REQUEUE_SECONDS = 60.0
"""How soon to try again what a quota, a role or a policy has forbidden: no event says when it is allowed."""

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
    read_stage_report: ReadStageReport
    progress_interval: float
    """Minimum seconds between two requests to a running stage."""


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
        self._report_times: dict[Key, float] = {}

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
            assessment = assess(self._situation(reconciliation, children))
            actions = decide(assessment)
            refused = await self._check(reconciliation, actions)
            report = await self._stage_report(key, assessment)
            if refused:
                assessment = assess(replace(assessment.situation, refused=refused))
            reconciliation = await self._record(reconciliation, assessment, report)
            if refused:
                return REFUSED_REQUEUE_SECONDS
            conflicting = await self._carry_out(reconciliation, assessment, actions)
            if conflicting is None:
                break
            children = _with_child(children, conflicting)
        return UNWATCHED_REQUEUE_SECONDS if _made_unwatched(actions) else self._requeue_seconds(key, assessment)

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

    async def _stage_report(self, key: Key, assessment: Assessment) -> StageReport:
        running = assessment.situation.observation.running_job
        if running is None or running.pod_ip is None or self._report_due_in(key) > 0:
            return StageReport()
        self._report_times[key] = monotonic()
        return await self._dependencies.read_stage_report(running.pod_ip)

    def _report_due_in(self, key: Key) -> float:
        interval = self._dependencies.progress_interval
        return self._report_times.get(key, -interval) + interval - monotonic()

    # --- decide: in core; here the server says whether it would accept the decision

    async def _check(self, reconciliation: _Reconciliation, actions: Sequence[Action]) -> Problem | None:
        """Why the server refuses the first object that it would not accept, before anything is written."""
        for manifest in _to_check(reconciliation.previous, actions):
            try:
                await self._cluster.check(manifest)
            except AlreadyExists:
                continue
            except (Invalid, Forbidden) as error:
                return _refusal(error)
        return None

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

    async def _carry_out(
        self, reconciliation: _Reconciliation, assessment: Assessment, actions: Sequence[Action]
    ) -> Manifest | None:
        """Carry out the actions in order; returns the existing object where one has the name of a new one."""
        for action in actions:
            try:
                await self._do(reconciliation.plan.namespace, action)
            except AlreadyExists:
                return await self._existing_object(reconciliation.plan.namespace, action)
            except (Invalid, Forbidden) as error:
                situation = replace(assessment.situation, previous=reconciliation.previous, refused=_refusal(error))
                await self._record(reconciliation, assess(situation), StageReport())
                raise
        return None

    async def _do(self, namespace: str, action: Action) -> None:
        match action:
            case Create(manifest):
                await self._cluster.create(manifest)
            case Apply(manifest):
                await self._cluster.apply(manifest)
            case Merge(kind, name, patch):
                await self._cluster.merge(kind, namespace, name, patch)
            case Delete(kind, name):
                await self._cluster.delete(kind, namespace, name)
            case Suspend(job, suspended):
                await self._cluster.merge("Job", namespace, job, {"spec": {"suspend": suspended}})
            case DryRun():
                """Was checked before anything was written."""

    async def _existing_object(self, namespace: str, action: Action) -> Manifest | None:
        if not isinstance(action, Create):
            return None
        return await self._cluster.get(action.manifest["kind"], namespace, action.manifest["metadata"]["name"])

    # --- and then

    def _requeue_seconds(self, key: Key, assessment: Assessment) -> float | None:
        requeue = requeue_after(assessment)
        seconds = [requeue.total_seconds()] if requeue else []
        if assessment.situation.observation.running_job:
            seconds.append(max(self._report_due_in(key), 1.0))
        return min(seconds, default=None)

    def _forget(self, key: Key) -> None:
        self._report_times.pop(key, None)
        self._dependencies.metrics.deleted(key)
        self._dependencies.watch_health.deleted(key)


def _to_check(previous: DistillationStatus, actions: Iterable[Action]) -> Iterator[Manifest]:
    """What the server is to check first: what `decide` asks for, and after a refusal whatever would be created, so that
    the status does not change to and fro while the refusal lasts."""
    refused_before = find_condition(previous, ConditionType.STALLED) is not None
    for action in actions:
        if isinstance(action, DryRun) or (refused_before and isinstance(action, Create | Apply)):
            yield action.manifest


def _made_unwatched(actions: Iterable[Action]) -> bool:
    """Whether a Service was written: Services are not watched."""
    return any(isinstance(action, Create | Apply) and action.manifest["kind"] == "Service" for action in actions)


def _refusal(error: ClusterError) -> Problem:
    return Problem(Reason.POD_REFUSED if isinstance(error, Forbidden) else Reason.INVALID_SPEC, str(error))


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
