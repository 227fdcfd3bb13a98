"""The operator as a process of its own, with the rights that the chart grants it and no others.

Each is confined to one namespace, which also holds its service account and its Lease, so tests that kill, cut off and
restart operators do not see each other.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cluster import Cluster
from waiting import wait_until

CHART = Path(__file__).resolve().parents[2] / "helm" / "distillery"
NAME = "distillery"
RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Lease"}
CRD = "crd.yaml"

QUICK = {
    "DISTILLERY_TRAINER_IMAGE": "distillery-trainer:scripted",
    "DISTILLERY_VLLM_IMAGE": "vllm:none",
    "DISTILLERY_VLLM_CPU_IMAGE": "vllm-cpu:none",
    "DISTILLERY_RETRY_FIRST_DELAY": "1s",
    "DISTILLERY_RETRY_LONGEST_DELAY": "2s",
    "DISTILLERY_PROGRESS_INTERVAL": "1s",
    "DISTILLERY_STAGE_GRACE_PERIOD": "5s",
    "DISTILLERY_LEASE_DURATION": "3s",
    "DISTILLERY_LEASE_RENEW_DEADLINE": "2s",
    "DISTILLERY_LEASE_RETRY": "500ms",
    "DISTILLERY_LOG_FORMAT": "text",
}
"""Settings under which waiting is short."""


def install_crd(cluster: Cluster) -> None:
    """The CRD as the chart brings it; returns once the API server serves it."""
    cluster.apply(_render(cluster, "default", (), f"templates/{CRD}"))
    wait_until(lambda: cluster.get("distillations"), 30, "the CRD to be served")


def grant_rights(cluster: Cluster, namespace: str, watched: Iterable[str]) -> Path:
    """The chart's service account, roles and Lease in `namespace`, for the watched namespaces (none: all); returns a
    kubeconfig with that account's token."""
    rendered = yaml.safe_load_all(_render(cluster, namespace, watched))
    cluster.apply([manifest for manifest in rendered if manifest and manifest["kind"] in RIGHTS])
    return cluster.kubeconfig_for(NAME, namespace)


def _render(cluster: Cluster, namespace: str, watched: Iterable[str], template: str | None = None) -> str:
    only = ("--show-only", template) if template else ()
    values = ",".join(watched)
    chosen = ("--set", f"watchNamespaces={{{values}}}") if values else ()
    return cluster.helm("template", NAME, str(CHART), "--namespace", namespace, *chosen, *only)


class OperatorProcess:
    """`python -m distillery_operator` on this machine; a context manager. Settings are DISTILLERY_* variables."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, identity: str = "one", **settings: str) -> None:
        self.metrics_port, self.health_port = _free_ports()
        self._log = log
        self._started: subprocess.Popen[bytes] | None = None
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DISTILLERY_")},
            **QUICK,
            "KUBECONFIG": str(kubeconfig),
            "DISTILLERY_OPERATOR_NAMESPACE": namespace,
            "DISTILLERY_NAMESPACES": namespace,
            "DISTILLERY_LEASE_NAME": NAME,
            "DISTILLERY_IDENTITY": identity,
            "DISTILLERY_METRICS_PORT": str(self.metrics_port),
            "DISTILLERY_HEALTH_PORT": str(self.health_port),
            **settings,
        }

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; it is ready a second or two later (see `wait_until_leading`)."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "distillery_operator"]
            self._started = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a node that loses power would."""
        if self._started is not None and self._started.poll() is None:
            self._started.kill()
            self._started.wait(10)

    def terminate(self, seconds: float = 15.0) -> float:
        """Ask it to end; returns the seconds that it took."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(seconds)
        return time.monotonic() - started

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()
        self.wait_until_leading()

    def pause(self) -> None:
        """Pause it, as an overloaded machine would."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it."""
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What it has written so far, over all starts."""
        return self._log.read_text(errors="replace")

    @property
    def resident_mib(self) -> float:
        """Memory in use, in MiB."""
        return psutil.Process(self._process.pid).memory_info().rss / 2**20

    @property
    def peak_mib(self) -> float:
        """Highest resident memory since its start, in MiB."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample of /metrics; None where it does not exist."""
        text = requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        chosen = (sample for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
        return next((sample.value for sample in chosen), None)

    def leads(self) -> bool:
        """Whether this replica is the one that works; one that has not started, or has ended, is not."""
        try:
            return self.metric("distillery_leader") == 1
        except requests.ConnectionError:
            return False

    def health(self) -> requests.Response:
        """What a liveness probe sees."""
        return requests.get(f"http://127.0.0.1:{self.health_port}/healthz", timeout=5)

    def wait_until_leading(self, seconds: float = 30.0) -> None:
        """Return once it leads; fails with its log where it ended instead."""
        wait_until(lambda: self.exit_status is not None or self.leads(), seconds, "the operator to lead")
        if self.exit_status is not None:
            raise AssertionError(f"the operator ended with {self.exit_status}: {self.log[-3000:]}")

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._started is None:
            raise RuntimeError("the operator was not started")
        return self._started


def _free_ports() -> tuple[int, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    first, second = (opened.getsockname()[1] for opened in sockets)
    for opened in sockets:
        opened.close()
    return first, second


def conditions(distillation: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition, by type."""
    status = distillation.get("status") or {}
    return {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())}
