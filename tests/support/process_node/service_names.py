"""The names of Services and of their pods: a hosts file in place of the cluster's DNS.

A name leads to the ready pods themselves, so a Service's port has to be that of its pods.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from process_node.kube_api import Object

PATH = "/apis/discovery.k8s.io/v1/endpointslices"
SERVICE_LABEL = "kubernetes.io/service-name"
LOOPBACK = "127.0.0.1 localhost\n"
DOMAIN = ("svc", "cluster.local")


@dataclass(frozen=True)
class HostsFile:
    """The hosts file of one pod; that of the node has no namespace and no name."""

    path: Path
    namespace: str = ""
    own: str = ""
    """The line with the pod's address and its name, as a kubelet writes it."""


class ServiceNames:
    """The hosts files, kept up to date while containers see theirs as /etc/hosts: that of the node has full names, that
    of a pod also those that DNS searches in its namespace."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._files = {file: HostsFile(file)}
        self._endpoints: dict[str, Object] = {}
        self._mutex = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write(self._files[file])

    def update(self, kind: str, endpoints: Object) -> None:
        """An EndpointSlice was added, modified or deleted."""
        with self._mutex:
            self._endpoints.pop(endpoints["metadata"]["uid"], None)
            if kind != "DELETED":
                self._endpoints[endpoints["metadata"]["uid"]] = endpoints
            for file in self._files.values():
                self._write(file)

    def add_pod(self, path: Path, pod: Object, address: str) -> None:
        """Write the hosts file of a pod from now on."""
        file = HostsFile(path, pod["metadata"]["namespace"], f"{address} {host_name(pod)}\n")
        with self._mutex:
            self._files[path] = file
            self._write(file)

    def remove_pod(self, path: Path) -> None:
        """The pod is gone."""
        with self._mutex:
            self._files.pop(path, None)

    def _write(self, file: HostsFile) -> None:
        """In place: a mount of the file follows the file and not its name."""
        lines = (line for endpoints in self._endpoints.values() for line in _lines(endpoints, file.namespace))
        with file.path.open("r+" if file.path.exists() else "w") as stream:
            stream.write(LOOPBACK + file.own + "".join(lines))
            stream.truncate()


def host_name(pod: Object) -> str:
    """What a pod calls itself: the host name of its specification, else its own name."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]


def _lines(endpoints: Object, namespace: str) -> list[str]:
    """For each ready pod its address, with the Service's names and, where the Service is the pod's subdomain, the
    pod's below them."""
    metadata = endpoints["metadata"]
    service = _searched(metadata.get("labels", {}).get(SERVICE_LABEL, ""), metadata["namespace"], namespace)
    lines = []
    for endpoint in endpoints.get("endpoints") or ():
        if endpoint.get("conditions", {}).get("ready"):
            pod = endpoint.get("hostname")
            names = [*service, *(f"{pod}.{name}" for name in service if pod)]
            lines += [f"{address} {' '.join(names)}\n" for address in endpoint["addresses"]]
    return lines


def _searched(service: str, namespace: str, pod_namespace: str) -> list[str]:
    """The names that lead to a Service from a pod of `pod_namespace`."""
    parts = (service, namespace, *DOMAIN)
    shortest = 1 if namespace == pod_namespace else 2 if pod_namespace else 3
    return [".".join(parts[:length]) for length in range(shortest, len(parts) + 1)]
