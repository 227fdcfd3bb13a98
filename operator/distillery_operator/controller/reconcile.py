"""One look at one Distillation: observe, decide, write the status, act. Everything else calls this.

The status is written before the actions and already names what they create, so an operator that dies in between finds
its intention and carries on with it. Nothing is remembered between two looks but when a stage was last asked how far
it is.
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
from distillery_operator.cluster.stage_client import StageReport
from distillery_operator.cluster.status_writer import StatusWriter
from distillery_operator.controller.metrics import Metrics
from distillery_operator.controller.watch_health import MISSED_EVENT_SECONDS, WatchHealth
from distillery_operator.core.actions import Action, Apply, Check, Create, Delete, Suspend, decide
from distillery_operator.core.observation import Children, Observation
from distillery_operator.core.observe import observe
from distillery_operator.core.requeue import requeue_after
from distillery_operator.core.situation import Settings, find_condition, names_to_read
from distillery_operator.core.status import Refusal, compute_status, invalid_status
from distillery_operator.errors import AlreadyExists, ClusterError, Forbidden, Invalid, InvalidDistillation
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan, make_plan

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

Manifest = dict[str, Any]

ReadStageReport = Callable[[str], Awaitable[StageReport]]
"""Asks the stage at a Pod's address what it has to tell."""

REFUSED_REQUEUE_SECONDS = 60.0
"""How soon to ask again for what a quota, a role or a policy forbade: no event tells when it may."""

UNWATCHED_REQUEUE_SECONDS = 1.0
"""How soon to look at what was made where no event tells that it is there."""

_NAME_CONFLICT_ATTEMPTS = 3


@dataclass(frozen=True)
class Dependencies:
    """What every look uses."""

    cluster: Cluster
    settings: Settings
    status_writer: StatusWriter
    metrics: Metrics
    watch_health: WatchHealth
    clock: Callable[[], datetime]
    ask_stage: ReadStageReport
    progress_interval: float
    """Seconds between two questions to a running stage, at least."""


@dataclass(frozen=True)
class _Reconciliation:
    """What is known in one look."""

    stored: Manifest
    plan: Plan
    previous: DistillationStatus
    now: datetime


class Reconciler:
    """Brings one Distillation at a time nearer to its spec.

    Calling it returns the seconds until the next look is wanted, or None where an event will tell. It raises an
    OperatorError where the look could not be ended; then it is to be called again.
    """

    def __init__(self, tools: Dependencies) -> None:
        self._tools, self._cluster = tools, tools.cluster
        self._asked: dict[Key, float] = {}

    async def __call__(self, key: Key) -> float | None:
        """One look, timed."""
        started, outcome = monotonic(), "error"
        try:
            wanted = await self._look(key)
            outcome = "ok"
        except ClusterError:
            outcome = "retry"
            raise
        finally:
            self._tools.metrics.reconciled(outcome, monotonic() - started)
        return wanted

    async def _look(self, key: Key) -> float | None:
        stored = await self._cluster.get(KIND, *key)
        if stored is None or stored["metadata"].get("deletionTimestamp"):
            # The children go with it, by their owner references.
            self._forget(key)
            return None
        unheard = self._tools.watch_health.read(key, stored["metadata"]["resourceVersion"], monotonic())
        wanted = await self._reconcile(key, stored)
        return min(wanted or MISSED_EVENT_SECONDS, MISSED_EVENT_SECONDS) + 1 if unheard else wanted

    async def _reconcile(self, key: Key, stored: Manifest) -> float | None:
        previous, now = read_status(stored), self._tools.clock()
        try:
            distillation = read_distillation(stored)
        except InvalidDistillation as problem:
            status = invalid_status(read_metadata(stored), previous, now, str(problem))
            await self._write_status(key, stored, previous, status)
            return None
        return await self._bring_about(key, _Reconciliation(stored, make_plan(distillation), previous, now))

    async def _bring_about(self, key: Key, look: _Reconciliation) -> float | None:
        """Observe, decide, record and act; once more where a name turns out to be taken."""
        children = await self._children(look)
        for _ in range(_NAME_CONFLICT_ATTEMPTS):
            observation = observe(children, owner_uid=look.plan.uid, now=look.now)
            actions = decide(look.plan, observation, look.previous, look.now, self._tools.settings)
            refused = await self._refusal(look, actions)
            told = await self._told(key, observation)
            look = await self._recorded(look, observation, told, refused)
            if refused:
                return REFUSED_REQUEUE_SECONDS
            taken = await self._carry_out(look, observation, actions)
            if taken is None:
                break
            children = _with_child(children, taken)
        return UNWATCHED_REQUEUE_SECONDS if _made_unwatched(actions) else self._next_look(key, look, observation)

    # --- observe

    async def _children(self, look: _Reconciliation) -> Children:
        """Everything that belongs to the Distillation, and the Events about what does not get on."""
        plan, namespace = look.plan, look.plan.namespace
        selector, serving = names.child_selector(plan.name), names.serving_name(plan.name)
        jobs, pods, claim, deployment, service = await asyncio.gather(
            self._cluster.list_labelled("Job", namespace, selector),
            self._cluster.list_labelled("Pod", namespace, selector),
            self._cluster.get("PersistentVolumeClaim", namespace, plan.claim_name),
            self._cluster.get("Deployment", namespace, serving),
            self._cluster.get("Service", namespace, serving),
        )
        children = Children(claim=claim, jobs=jobs, pods=pods, deployment=deployment, service=service)
        for kind, name in names_to_read(plan, look.previous):
            if kind == "Job":
                children = _with_child(children, await self._cluster.get(kind, namespace, name))
        unexplained = observe(children, owner_uid=plan.uid, now=look.now).unexplained
        told = await asyncio.gather(*(self._cluster.events_about(namespace, name) for name in unexplained))
        return replace(children, events=tuple(event for events in told for event in events))

    async def _told(self, key: Key, observation: Observation) -> StageReport:
        running = observation.running
        if running is None or running.pod_ip is None or self._progress_due_in(key) > 0:
            return StageReport()
        self._asked[key] = monotonic()
        return await self._tools.ask_stage(running.pod_ip)

    def _progress_due_in(self, key: Key) -> float:
        interval = self._tools.progress_interval
        return self._asked.get(key, -interval) + interval - monotonic()

    # --- decide: see decide.py; here only what the server has to say about it

    async def _refusal(self, look: _Reconciliation, actions: Sequence[Action]) -> Refusal | None:
        """The server's words about the first thing that it would not take, before anything is written."""
        for manifest in _to_check(look, actions):
            try:
                await self._cluster.check(manifest)
            except AlreadyExists:
                continue
            except (Invalid, Forbidden) as problem:
                return _refusal_of(problem)
        return None

    # --- record

    async def _recorded(
        self, look: _Reconciliation, observation: Observation, told: StageReport, refused: Refusal | None
    ) -> _Reconciliation:
        status = compute_status(
            look.plan,
            observation,
            look.previous,
            look.now,
            self._tools.settings,
            progress=told.progress,
            estimate=told.estimate,
            refused=refused,
        )
        key = look.plan.namespace, look.plan.name
        stored = await self._write_status(key, look.stored, look.previous, status)
        return replace(look, stored=stored, previous=status)

    async def _write_status(
        self, key: Key, stored: Manifest, previous: DistillationStatus, status: DistillationStatus
    ) -> Manifest:
        self._tools.metrics.saw(key, status)
        return await self._tools.status_writer.write(stored, previous, status)

    # --- act

    async def _carry_out(
        self, look: _Reconciliation, observation: Observation, actions: Sequence[Action]
    ) -> Manifest | None:
        """Do what was decided, in order; returns the object that has a name that was to be created, if there is one."""
        for action in actions:
            try:
                await self._do(look.plan.namespace, action)
            except AlreadyExists:
                return await self._holder_of_the_name(look, action)
            except (Invalid, Forbidden) as problem:
                await self._recorded(look, observation, StageReport(), _refusal_of(problem))
                raise
        return None

    async def _do(self, namespace: str, action: Action) -> None:
        match action:
            case Create(manifest):
                await self._cluster.create(manifest)
            case Apply(manifest):
                await self._cluster.apply(manifest)
            case Delete(kind, name):
                await self._cluster.delete(kind, namespace, name)
            case Suspend(job, suspended):
                await self._cluster.merge("Job", namespace, job, {"spec": {"suspend": suspended}})
            case Check():
                """Was asked before anything was written."""

    async def _holder_of_the_name(self, look: _Reconciliation, action: Action) -> Manifest | None:
        if not isinstance(action, Create):
            return None
        kind, name = action.manifest["kind"], action.manifest["metadata"]["name"]
        return await self._cluster.get(kind, look.plan.namespace, name)

    # --- and then

    def _next_look(self, key: Key, look: _Reconciliation, observation: Observation) -> float | None:
        wanted = requeue_after(look.plan, observation, look.previous, look.now, self._tools.settings)
        moments = [wanted.total_seconds()] if wanted else []
        if observation.running:
            moments.append(max(self._progress_due_in(key), 1.0))
        return min(moments, default=None)

    def _forget(self, key: Key) -> None:
        self._asked.pop(key, None)
        self._tools.metrics.gone(key)
        self._tools.watch_health.gone(key)


def _to_check(look: _Reconciliation, actions: Iterable[Action]) -> Iterator[Manifest]:
    """What the server is to judge first: what `decide` asks for, and after a refusal whatever would be created, so that
    the status does not change to and fro while the refusal lasts."""
    refused_before = find_condition(look.previous, ConditionType.STALLED) is not None
    for action in actions:
        if isinstance(action, Check) or (refused_before and isinstance(action, Create | Apply)):
            yield action.manifest


def _made_unwatched(actions: Iterable[Action]) -> bool:
    """Whether a Service was written: nobody watches those."""
    return any(isinstance(action, Create | Apply) and action.manifest["kind"] == "Service" for action in actions)


def _refusal_of(problem: ClusterError) -> Refusal:
    reason = Reason.POD_REFUSED if isinstance(problem, Forbidden) else Reason.INVALID_SPEC
    return Refusal(str(problem), reason)


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
