"""The names of Services for the node's pods: a hosts file in place of the cluster's DNS.

A name leads to the ready pods themselves, so a Service's port has to be that of its pods.
"""

from __future__ import annotations

import threading
from pathlib import Path

from process_node.kube_api import Object

PATH = "/apis/discovery.k8s.io/v1/endpointslices"
SERVICE_LABEL = "kubernetes.io/service-name"
OWN = "127.0.0.1 localhost\n"


class ServiceNames:
    """The hosts file, kept up to date while containers see it as their /etc/hosts."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lines: dict[str, str] = {}
        self._mutex = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def update(self, kind: str, endpoints: Object) -> None:
        """An EndpointSlice was added, modified or deleted."""
        with self._mutex:
            self._lines[endpoints["metadata"]["uid"]] = "" if kind == "DELETED" else _lines(endpoints)
            self._write()

    def _write(self) -> None:
        """In place: a mount of the file follows the file and not its name."""
        content = OWN + "".join(self._lines.values())
        with self.file.open("r+" if self.file.exists() else "w") as file:
            file.write(content)
            file.truncate()


def _lines(endpoints: Object) -> str:
    name = endpoints["metadata"].get("labels", {}).get(SERVICE_LABEL, "")
    host = f"{name}.{endpoints['metadata']['namespace']}.svc"
    ready = [each for each in endpoints.get("endpoints") or () if each.get("conditions", {}).get("ready")]
    return "".join(f"{address} {host} {host}.cluster.local\n" for each in ready for address in each["addresses"])
