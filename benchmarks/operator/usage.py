"""What the operator and the control plane take: requests, CPU seconds and memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import psutil
from prometheus_client.parser import text_string_to_metric_families

from control_plane import ControlPlane
from operator_process import OperatorProcess

QUIET_SECONDS, PATIENCE_SECONDS = 5.0, 300.0
REPEATED = ("WATCH", "CONNECT")

Requests = Counter[str]
"""How many requests there were, by verb and resource."""


def requests_by_kind(metrics: str) -> Requests:
    """The requests about single resources that the API server has answered, from its metrics: watches and the Lease
    apart."""
    families = text_string_to_metric_families(metrics)
    samples = (each for family in families for each in family.samples if each.name == "apiserver_request_total")
    counted = Requests()
    for each in samples:
        if _counts(each.labels):
            counted[_name(each.labels)] += round(each.value)
    return counted


def _counts(labels: Mapping[str, str]) -> bool:
    return labels["resource"] not in ("leases", "") and labels["verb"] not in REPEATED


def _name(labels: Mapping[str, str]) -> str:
    subresource = f"/{labels['subresource']}" if labels.get("subresource") else ""
    dry_run = " (dry run)" if labels.get("dry_run") else ""
    return f"{labels['verb']} {labels['resource']}{subresource}{dry_run}"


class ProcessorTimes:
    """CPU seconds of the operator and of each program of the control plane, from now on."""

    def __init__(self, plane: ControlPlane, operator: OperatorProcess) -> None:
        programs = {"operator": operator.pid, **plane.process_ids}
        self._processes = {name: psutil.Process(pid) for name, pid in programs.items()}
        self._before = self._now()

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds - self._before[name]:.1f}" for name, seconds in self._now().items())

    def _now(self) -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in self._processes.items()}


class OperatorUsage:
    """What an operator process takes from now on."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator, self._process = operator, psutil.Process(operator.pid)
        self._processor = self._processor_now()

    def __str__(self) -> str:
        return f"{self._processor_now() - self._processor:.1f} CPU s, peak {self._operator.peak_mib:.0f} MiB"

    def wait_until_quiet(self, since: float) -> float:
        """Wait until under a tenth of a core is used for a while and nothing is queued; returns the seconds before.
        Gives up after five minutes."""
        begun = last = time.monotonic()
        used = -1.0
        while time.monotonic() - begun < PATIENCE_SECONDS:
            time.sleep(0.5)
            now = self._processor_now()
            if now - used > 0.05:
                last = time.monotonic()
            # With thousands of resources, to read the metrics takes longer than to be at rest.
            elif time.monotonic() - last >= QUIET_SECONDS and not self._operator.metric("distillery_queue_depth"):
                break
            used = now
        return last - since

    def _processor_now(self) -> float:
        return sum(self._process.cpu_times()[:2])
