"""Writes a Distillation's status where it has changed, and posts an Event for each change worth one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from distillery_api.status import DistillationStatus
from distillery_operator.cluster.client import Cluster
from distillery_operator.core.events import event_manifest, status_changes
from distillery_operator.errors import ClusterError

logger = logging.getLogger(__name__)

Manifest = dict[str, Any]


class StatusWriter:
    """The one that writes. `identity` names this replica in Events."""

    def __init__(self, cluster: Cluster, identity: str, clock: Callable[[], datetime]) -> None:
        self._cluster, self._identity, self._clock = cluster, identity, clock

    async def write(self, stored: Manifest, previous: DistillationStatus, status: DistillationStatus) -> Manifest:
        """Write `status` unless it is the recorded one; returns the Distillation as it is stored then.

        Raises Conflict where the Distillation has changed since it was read.
        """
        if status == previous:
            return stored
        written = await self._cluster.write_status(stored, status.to_manifest())
        await self._post_events(written["metadata"], previous, status)
        return written

    async def _post_events(self, metadata: Manifest, previous: DistillationStatus, status: DistillationStatus) -> None:
        now = self._clock()
        for number, transition in enumerate(status_changes(previous, status)):
            told = event_manifest(
                transition,
                metadata,
                name=f"{metadata['name']}.{int(now.timestamp() * 1e6) + number:x}",
                time=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                reporting_instance=self._identity,
            )
            logger.info("%s/%s: %s: %s", metadata["namespace"], metadata["name"], transition.reason, transition.note)
            try:
                await self._cluster.post(told)
            except ClusterError as problem:
                logger.warning("%s: its Event %s was not taken: %s", metadata["name"], transition.reason, problem)
