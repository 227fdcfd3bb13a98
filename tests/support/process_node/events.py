"""Warning events of a pod: some problems, such as a volume that cannot be mounted, stand nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime

from process_node.kube_api import ApiError, ApiUnreachable, KubeApi, Object
from process_node.pod_status import timestamp

MESSAGE_CHARACTERS = 1024


class WarningEvents:
    """Writes one pod's events, each reason and message once."""

    def __init__(self, api: KubeApi, pod: Object, node: str) -> None:
        self._api, self._metadata, self._node = api, pod["metadata"], node
        self._written: set[tuple[str, str]] = set()

    def emit(self, reason: str, message: str) -> None:
        """Write an event; one that the API server does not take is not worth a second try."""
        if (reason, message) in self._written:
            return
        self._written.add((reason, message))
        try:
            self._api.create(f"/api/v1/namespaces/{self._metadata['namespace']}/events", self._event(reason, message))
        except (ApiError, ApiUnreachable):
            return

    def _event(self, reason: str, message: str) -> Object:
        now = timestamp(datetime.now(UTC))
        named = {key: self._metadata[key] for key in ("name", "namespace", "uid")}
        return {
            "metadata": {"generateName": f"{named['name']}.", "namespace": named["namespace"]},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", **named},
            "type": "Warning",
            "reason": reason,
            "message": message[:MESSAGE_CHARACTERS],
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "kubelet", "host": self._node},
        }
