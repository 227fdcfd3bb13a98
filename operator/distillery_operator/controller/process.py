"""The operator as a process: start, signals, the leader and its workers, and the exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from distillery_api.resource import API_VERSION, GROUP, PLURAL
from distillery_operator.cluster.client import Cluster, ClusterLease
from distillery_operator.cluster.crd_check import check_served_schema
from distillery_operator.cluster.leader_election import Leader
from distillery_operator.cluster.object_cache import REQUIRED_KINDS
from distillery_operator.cluster.stage_client import read_server_counters, read_stage_report
from distillery_operator.cluster.status_writer import StatusWriter
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.canary_readings import CanaryReadings
from distillery_operator.controller.fleet_rollout import FleetRollout
from distillery_operator.controller.health_server import health_server
from distillery_operator.controller.kopf_handlers import EXIT_SECONDS, KopfHandlers, configure_logging
from distillery_operator.controller.metrics import Metrics
from distillery_operator.controller.namespace_rights import NamespaceRights
from distillery_operator.controller.reconcile import Dependencies, Key, Reconciler
from distillery_operator.controller.settings import OperatorSettings, read_settings
from distillery_operator.controller.shared_servers import affected
from distillery_operator.controller.stage_reports import StageReports
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.controller.work_queue import WorkQueue, run_workers
from distillery_operator.errors import NotFound, OperatorError, OutdatedSchema, SettingsError, Unreachable

logger = logging.getLogger(__name__)

SCHEMA_TRIES = 10


class ExitStatus:
    """How the process ends."""

    OK = 0
    FAILED = 1
    USAGE = 2


class Operator:
    """Everything that one replica consists of."""

    def __init__(self, settings: OperatorSettings, cluster: Cluster) -> None:
        self.settings, self.cluster = settings, cluster
        self.queue: WorkQueue[Key] = WorkQueue()
        self.metrics, self.watch_health = Metrics(), WatchHealth()
        self.metrics.watch_queue_depth(lambda: len(self.queue))
        self.rights = NamespaceRights(self.metrics.set_forbidden)
        scopes = settings.namespaces or (None,)
        watches = len(scopes) * len(REQUIRED_KINDS)
        self.cache_sync = CacheSync(cluster, scopes, self.watch_health, self._changed, self.rights, watches=watches)
        self.handlers = KopfHandlers(settings, cluster, self.queue, self.watch_health, self.cache_sync)

    def _changed(self, key: Key) -> None:
        for each in affected(self.cluster.cache, key):
            self.queue.add(each)

    async def reconcile_while_leading(self) -> None:
        """Wait for the lease, then reconcile; ends only by an exception, LeadershipLost among them."""
        lease = ClusterLease(self.cluster, self.settings.operator_namespace, self.settings.lease_name)
        leader = Leader(lease, self.settings.identity, self.settings.lease_times, self.metrics.set_leader)
        await leader.lead(self._work)

    async def _work(self) -> None:
        settings = self.settings
        await self.cache_sync.wait_until_tried()
        await run_workers(self.queue, self._reconciler(), workers=settings.workers, resync_seconds=settings.resync)

    def _reconciler(self) -> Reconciler:
        dependencies = Dependencies(
            cluster=self.cluster,
            settings=self.settings.core,
            status_writer=StatusWriter(self.cluster, self.settings.identity, _now),
            metrics=self.metrics,
            watch_health=self.watch_health,
            clock=_now,
            cache_is_complete=self.cache_sync.is_complete,
            written=self.cache_sync.written,
            stage_reports=StageReports(read_stage_report, self.settings.progress_interval, self.queue.add),
            canary_readings=CanaryReadings(read_server_counters, self.settings.progress_interval, self.queue.add),
            fleet=FleetRollout(monotonic, self.queue.add),
        )
        return Reconciler(dependencies)


def main() -> int:
    """Run one replica; returns the exit status of the process."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return ExitStatus.USAGE
    configure_logging(settings)
    try:
        asyncio.run(run(settings))
    except OperatorError as error:
        logger.error("%s", error)
        return ExitStatus.FAILED
    return ExitStatus.OK


async def run(settings: OperatorSettings) -> None:
    """Run one replica until SIGTERM or SIGINT, or until it must not work any longer.

    Raises OperatorError where it cannot start, and LeadershipLost where another replica may be leading by now.
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

    The server publishes a schema a moment after the CRD is created, so the check is repeated while it is missing.
    """
    for tries_left in reversed(range(SCHEMA_TRIES)):
        try:
            check_served_schema(await cluster.served_schema(API_VERSION))
        except (NotFound, Unreachable, OutdatedSchema) as error:
            if not tries_left:
                raise _unserved(error) from error
            await asyncio.sleep(1)
        else:
            return


def _unserved(error: OperatorError) -> OperatorError:
    if isinstance(error, NotFound):
        return OutdatedSchema(f"the cluster does not serve {API_VERSION}: install the CRD {PLURAL}.{GROUP}")
    return error


async def _run_until(stop: asyncio.Event, operator: Operator) -> None:
    """Watch and work until `stop`, or until either ends; the workers end before the watchers do."""
    operator.metrics.serve(operator.settings.metrics_port)
    async with health_server(operator.settings.health_port, operator.handlers.problem):
        await _work_until(stop, operator)


async def _work_until(stop: asyncio.Event, operator: Operator) -> None:
    stop_watching = asyncio.Event()
    leader = asyncio.create_task(operator.reconcile_while_leading(), name="leader")
    watchers = asyncio.create_task(_watch(operator, stop, stop_watching), name="watchers")
    listing = asyncio.create_task(operator.cache_sync.run(operator.settings.resync), name="cache sync")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    finished, _ = await asyncio.wait((leader, listing, watchers, stopped), return_when=asyncio.FIRST_COMPLETED)
    leader.cancel()
    listing.cancel()
    await asyncio.wait((leader, listing))
    operator.queue.close()
    stop_watching.set()
    await asyncio.wait((watchers,), timeout=EXIT_SECONDS)
    stopped.cancel()
    for task in finished:
        task.result()


async def _watch(operator: Operator, stop: asyncio.Event, stop_watching: asyncio.Event) -> None:
    """Watch until `stop_watching`. Kopf handles the signals itself once it is ready; they must stop the workers first,
    so the process takes them back."""
    ready = asyncio.Event()
    restoring = asyncio.create_task(_take_signals_back(ready, stop))
    try:
        await operator.handlers.watch(ready, stop_watching)
    finally:
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


def _now() -> datetime:
    return datetime.now(UTC)
