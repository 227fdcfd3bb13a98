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
    """Writes statuses and posts Events. `identity` names this replica in Events."""

    def __init__(self, cluster: Cluster, identity: str, clock: Callable[[], datetime]) -> None:
        self._cluster, self._identity, self._clock = cluster, identity, clock

    async def write(self, resource: Manifest, previous: DistillationStatus, status: DistillationStatus) -> Manifest:
        """Write `status` if it has changed; returns the Distillation as the server stores it then.

        Raises Conflict where the Distillation has changed since it was read.
        """
        if status == previous:
            return resource
        written = await self._cluster.write_status(resource, status.to_manifest())
        await self._post_events(written["metadata"], previous, status)
        return written

    async def _post_events(self, metadata: Manifest, previous: DistillationStatus, status: DistillationStatus) -> None:
        now = self._clock()
        for number, change in enumerate(status_changes(previous, status)):
            event = event_manifest(
                change,
                metadata,
                name=f"{metadata['name']}.{int(now.timestamp() * 1e6) + number:x}",
                time=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                reporting_instance=self._identity,
            )
            logger.info("%s/%s: %s: %s", metadata["namespace"], metadata["name"], change.reason, change.note)
            try:
                await self._cluster.post(event)
            except ClusterError as error:
                logger.warning("%s: cannot post the Event %s: %s", metadata["name"], change.reason, error)
