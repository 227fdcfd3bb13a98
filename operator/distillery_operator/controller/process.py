"""The operator as a process: Kopf watches and calls, a queue collects the keys, and the leader's workers reconcile.

Kopf is an informer here and nothing else: no decision rests on what changed, no finalizer or annotation of Kopf's is
written, and no two replicas are told apart by it. The only module that imports Kopf.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from random import random
from typing import Any

import kopf

from distillery_api.resource import API_VERSION, GROUP, PLURAL, VERSION
from distillery_operator.cluster.client import Cluster, ClusterLease
from distillery_operator.cluster.crd_check import check_served_schema
from distillery_operator.cluster.leader_election import Leader
from distillery_operator.cluster.stage_client import read_stage_report
from distillery_operator.cluster.status_writer import StatusWriter
from distillery_operator.controller.metrics import Metrics
from distillery_operator.controller.reconcile import Dependencies, Key, Reconciler
from distillery_operator.controller.settings import OperatorSettings, read_settings
from distillery_operator.controller.watch_health import WatchHealth, watch_problem
from distillery_operator.controller.work_queue import WorkQueue, run_workers
from distillery_operator.errors import NotFound, OperatorError, OutdatedSchema, SettingsError, Unreachable
from distillery_operator.planning import names

logger = logging.getLogger(__name__)

CHILDREN = (("batch", "v1", "jobs"), ("apps", "v1", "deployments"), ("", "v1", "pods"))
"""Group, version and plural of the children whose changes matter."""

LIST_CHUNK = 500
SCHEMA_TRIES = 10
PROBE_PAUSES = (0.0, 0.2, 0.4)
"""Seconds before each look of one probe."""
EXIT_SECONDS = 10.0


class ExitStatus:
    """How the process ends."""

    OK = 0
    FAILED = 1
    USAGE = 2


class Backoffs:
    """Seconds between the tries of a request, for about eight minutes, each up to a quarter longer at random, so that
    replicas do not come back to a recovering API server all at once."""

    def __iter__(self) -> Iterator[float]:
        for seconds in (0.5, 1.0, 2.0, 4.0, *[8.0] * 60):
            yield seconds * (1 + random() / 4)


class Operator:
    """Everything that one replica consists of."""

    def __init__(self, settings: OperatorSettings, cluster: Cluster) -> None:
        self.settings, self.cluster = settings, cluster
        self.queue: WorkQueue[Key] = WorkQueue()
        self.metrics, self.watch_health = Metrics(), WatchHealth()
        self.metrics.count_queue(lambda: len(self.queue))

    # --- what Kopf calls

    async def on_distillation(self, meta: kopf.Meta, type: str | None, **_: Any) -> None:  # noqa: A002 - Kopf's name
        """Something happened to a Distillation; None is the initial list."""
        key = _key(meta.get("namespace"), meta.get("name"))
        if type == "DELETED":
            self.watch_health.deleted(key)
        else:
            self.watch_health.event_received(key, str(meta.get("resourceVersion", "")))
        self.queue.add(key)

    async def on_child(self, meta: kopf.Meta, **_: Any) -> None:
        """Something happened to a child, or a watch that was cut off lists them all anew."""
        owner = meta.labels.get(names.NAME_LABEL)
        if owner:
            self.queue.add(_key(meta.get("namespace"), owner))

    def watches(self) -> Iterator[str]:
        """What must be watched, as Kopf names it."""
        for namespace in self.settings.namespaces or (None,):
            for group, version, plural in ((GROUP, VERSION, PLURAL), *CHILDREN):
                yield f"{plural}.{version}.{group}".rstrip(".") + f"@{namespace}"

    async def probe(self, **_: Any) -> str:
        """Fails where this process no longer hears of changes. The server answers a moment before the watchers of a
        fresh process start, so it looks more than once."""
        wrong = None
        for pause in PROBE_PAUSES:
            await asyncio.sleep(pause)
            wrong = self._watch_problem()
            if wrong is None:
                return "ok"
        raise kopf.PermanentError(wrong)

    def _watch_problem(self) -> str | None:
        living = {task.get_name() for task in asyncio.all_tasks() if not task.done()}
        return watch_problem(living, self.watches(), self.watch_health.missed_events)

    async def log_in(self, **_: Any) -> kopf.ConnectionInfo:
        """The same way to the API server as for our own requests."""
        known = await self.cluster.credentials()
        return kopf.ConnectionInfo(
            server=known.server,
            ca_path=known.ca_path,
            insecure=known.insecure,
            token=known.token,
            certificate_path=known.certificate_path,
            private_key_path=known.key_path,
        )

    # --- what works

    async def reconcile_while_leading(self) -> None:
        """Wait for the lease, then reconcile; ends only by an exception, LeadershipLost among them."""
        lease = ClusterLease(self.cluster, self.settings.operator_namespace, self.settings.lease_name)
        leader = Leader(lease, self.settings.identity, self.settings.lease_times, self.metrics.leads)
        await leader.lead(self._work)

    async def _work(self) -> None:
        settings = self.settings
        await run_workers(self.queue, self._reconciler(), workers=settings.workers, resync_seconds=settings.resync)

    def _reconciler(self) -> Reconciler:
        dependencies = Dependencies(
            cluster=self.cluster,
            settings=self.settings.core,
            status_writer=StatusWriter(self.cluster, self.settings.identity, _now),
            metrics=self.metrics,
            watch_health=self.watch_health,
            clock=_now,
            read_stage_report=read_stage_report,
            progress_interval=self.settings.progress_interval,
        )
        return Reconciler(dependencies)


async def run(settings: OperatorSettings) -> None:
    """Run one replica until SIGTERM or SIGINT, or until it may work no longer.

    Raises OperatorError with a sentence where it cannot start, and LeadershipLost where another may work by now.
    """
    stop = asyncio.Event()
    _stop_on_signals(stop)
    cluster = await Cluster.connect()
    try:
        if await _unless(stop, check_schema(cluster)):
            await _run_until(stop, Operator(settings, cluster))
    finally:
        await cluster.close()


async def check_schema(cluster: Cluster) -> None:
    """Raises OutdatedSchema where the cluster's CRD is missing or older than this operator.

    The server publishes a schema a moment after the CRD is created, so a missing one is looked for again.
    """
    for tries_left in reversed(range(SCHEMA_TRIES)):
        try:
            check_served_schema(await cluster.served_schema(API_VERSION))
        except (NotFound, Unreachable, OutdatedSchema) as problem:
            if not tries_left:
                raise _unserved(problem) from problem
            await asyncio.sleep(1)
        else:
            return


def _unserved(problem: OperatorError) -> OperatorError:
    if isinstance(problem, NotFound):
        return OutdatedSchema(f"the cluster does not serve {API_VERSION}: install the CRD {PLURAL}.{GROUP}")
    return problem


async def _run_until(stop: asyncio.Event, operator: Operator) -> None:
    """Watch and work until `stop`, or until either ends; the workers end before the watchers do."""
    operator.metrics.serve(operator.settings.metrics_port)
    stop_watching = asyncio.Event()
    leader = asyncio.create_task(operator.reconcile_while_leading(), name="leader")
    watchers = asyncio.create_task(_watch(operator, stop, stop_watching), name="watchers")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    finished, _ = await asyncio.wait((leader, watchers, stopped), return_when=asyncio.FIRST_COMPLETED)
    leader.cancel()
    await asyncio.wait((leader,))
    operator.queue.close()
    stop_watching.set()
    await asyncio.wait((watchers,), timeout=EXIT_SECONDS)
    stopped.cancel()
    for task in finished:
        task.result()


async def _watch(operator: Operator, stop: asyncio.Event, stop_watching: asyncio.Event) -> None:
    """Kopf's part. Kopf would rather end than be deaf, and its end ends the process."""
    namespaces, ready = operator.settings.namespaces, asyncio.Event()
    watching = kopf.operator(
        registry=make_registry(operator),
        settings=kopf_settings(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        ready_flag=ready,
        stop_flag=stop_watching,
        liveness_endpoint=f"http://0.0.0.0:{operator.settings.health_port}/healthz",
    )
    async with asyncio.TaskGroup() as group:
        # Kopf takes the signals for itself; they are to stop the workers first.
        restoring = group.create_task(_take_signals_back(ready, stop))
        await watching
        restoring.cancel()


async def _take_signals_back(ready: asyncio.Event, stop: asyncio.Event) -> None:
    await ready.wait()
    _stop_on_signals(stop)


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` was done before `stop` was set; raises what it raises."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    return False


def make_registry(operator: Operator) -> kopf.OperatorRegistry:
    """The handlers: events put keys into the queue, and that is all."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(operator.log_in)
    kopf.on.probe(registry=registry, id="watching")(operator.probe)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(operator.on_distillation)
    for child in CHILDREN:
        kopf.on.event(*child, registry=registry)(operator.on_child)
    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf's settings, for a watcher that writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # New kinds of resources do not appear while we run, and namespaces need not be listed.
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    for group, version, plural in CHILDREN:
        settings.watching.label_selectors[group, version, plural] = names.MANAGED_BY_SELECTOR
    settings.watching.chunk_size = LIST_CHUNK
    settings.watching.connect_timeout = 10
    settings.watching.client_timeout = 600
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = Backoffs()
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = EXIT_SECONDS
    return settings


def _key(namespace: str | None, name: str | None) -> Key:
    return namespace or "", name or ""


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> int:
    """Run one replica; returns the exit status of the process."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as problem:
        sys.stderr.write(f"{problem}\n")
        return ExitStatus.USAGE
    _configure_logging(settings)
    try:
        asyncio.run(run(settings))
    except OperatorError as problem:
        logger.error("%s", problem)
        return ExitStatus.FAILED
    return ExitStatus.OK


def _configure_logging(settings: OperatorSettings) -> None:
    kopf.configure(
        debug=settings.log_level == "DEBUG",
        log_format=kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.FULL,
    )
    logging.getLogger().setLevel(settings.log_level)
    # These tell of every event and every probe; ours say what became of it.
    for chatty in ("kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
