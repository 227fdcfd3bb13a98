"""How much memory the operator uses at rest and how soon it starts the next stage, beside a bare Kopf operator.

    python -m benchmarks.operator [--runs 10] [--resources 200]

On the control plane of the cluster tests. Latency is from the end of a stage's process, by its own clock, to the
request that creates the next Job, as a proxy before the API server sees it. The peer starts a Job when one completes;
the Job controller collects changes of Pods for a second before it reports them, which ours does not wait for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

import psutil

from api_proxy import ApiProxy
from cluster_binaries import ensure_binaries
from control_plane import ControlPlane
from distillations import Distilled, small_spec
from operator_process import NAME, OperatorProcess, grant_rights, install_crd
from process_node.node import ProcessNode
from scripted_image import scripted_image
from waiting import wait_until

OURS, PEER = "distillery", "bare-kopf"
REST_SECONDS = 15


class JobTimes:
    """When each Job was asked for, in the order of the requests."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, method: str, path: str) -> None:
        if method == "POST" and path.partition("?")[0].endswith("/jobs"):
            self.times.append(time.time())


# --- ours


def our_latencies(plane: ControlPlane, runs: int, folder: Path) -> tuple[list[float], float]:
    """Seconds from a stage's end to the next Job, two for each run; and resident MiB at rest without any resource."""
    times = JobTimes()
    with ApiProxy(plane.server, plane.certificates.authority, times) as proxy:
        kubeconfig = _our_rights(plane, proxy.server)
        with OperatorProcess(kubeconfig, OURS, folder / "ours.log") as operator:
            operator.wait_until_leading()
            empty = _at_rest(operator)
            return [each for run in range(runs) for each in _one_run(plane, times, f"run-{run}")], empty


def _one_run(plane: ControlPlane, times: JobTimes, name: str) -> list[float]:
    times.times.clear()
    distilled = Distilled(plane, OURS, name)
    distilled.apply(small_spec(serving={"mode": "None"}))
    distilled.wait_ready()
    ends = [_end_of(distilled, stage) for stage in ("generate", "train")]
    distilled.delete()
    return [created - end for end, created in zip(ends, times.times[1:], strict=True)]


def _end_of(distilled: Distilled, stage: str) -> float:
    """When the stage's process ended, by its own report."""
    report = json.loads(_message(distilled.children("pods", stage)[0]))
    return datetime.fromisoformat(report["completionTime"]).timestamp()


def memory_with(plane: ControlPlane, resources: int, folder: Path) -> float:
    """Resident MiB at rest with `resources` Distillations that have nothing to do."""
    kubeconfig = _our_rights(plane, None)
    with OperatorProcess(kubeconfig, OURS, folder / "rest.log") as operator:
        operator.wait_until_leading()
        names = [f"idle-{number}" for number in range(resources)]
        plane.apply([_idle(name) for name in names], OURS)
        wait_until(
            lambda: operator.metric("distillery_distillations", reason="Suspended") == resources, 120, "them all"
        )
        return _at_rest(operator)


def _idle(name: str) -> dict[str, Any]:
    spec = small_spec(suspend=True)
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": name},
        "spec": spec,
    }


def _our_rights(plane: ControlPlane, server: str | None) -> Path:
    grant_rights(plane, OURS, [OURS])
    return plane.kubeconfig_for(NAME, OURS, server=server)


def _at_rest(operator: OperatorProcess) -> float:
    time.sleep(REST_SECONDS)
    return operator.resident_mib


# --- the peer


def peer_latencies(plane: ControlPlane, jobs: int, folder: Path) -> tuple[list[float], float]:
    """The same of a chain of Jobs under the peer."""
    times = JobTimes()
    with (
        ApiProxy(plane.server, plane.certificates.authority, times) as proxy,
        _peer(plane.kubeconfig_for("admin", PEER, server=proxy.server), folder / "peer.log") as process,
    ):
        time.sleep(REST_SECONDS)
        resident = psutil.Process(process.pid).memory_info().rss / 2**20
        plane.apply(_chain_job(jobs), PEER)
        wait_until(lambda: _has_ended(plane, f"chain-{jobs}"), 60 + 10 * jobs, "the chain")
        ends = [float(_message(_pod_of(plane, f"chain-{number}"))) for number in range(1, jobs)]
        return [created - end for end, created in zip(ends, times.times, strict=True)], resident


@contextmanager
def _peer(kubeconfig: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(__file__).with_name("bare_operator.py")
    command = [sys.executable, "-m", "kopf", "run", str(program), "--namespace", PEER, "--standalone"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, "KUBECONFIG": str(kubeconfig)}, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _chain_job(jobs: int) -> dict[str, Any]:
    script = "date +%s.%N > /dev/termination-log"
    container = {"name": "stage", "image": "busybox:test", "command": ["sh", "-c", script]}
    template = {"metadata": {"labels": {"chain": "pod"}}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": "chain-1", "labels": {"chain": str(jobs)}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"backoffLimit": 0, "template": template},
    }


def _pod_of(plane: ControlPlane, job: str) -> dict[str, Any]:
    selected = plane.kubectl("-n", PEER, "get", "pods", "-l", f"job-name={job}", "-o", "json")
    pod: dict[str, Any] = json.loads(selected)["items"][0]
    return pod


def _has_ended(plane: ControlPlane, job: str) -> bool:
    return bool(plane.get("job", job, PEER).get("status", {}).get("succeeded"))


def _message(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])


# --- both


@contextmanager
def running_cluster(folder: Path) -> Iterator[ControlPlane]:
    """A control plane with a node, the CRD, and a namespace for each operator."""
    with ControlPlane(ensure_binaries(), folder) as plane, ProcessNode(plane, folder / "node") as node:
        node.images["distillery-trainer:scripted"] = scripted_image()
        install_crd(plane)
        for namespace in (OURS, PEER):
            plane.kubectl("create", "namespace", namespace)
        plane.kubectl("-n", PEER, "create", "serviceaccount", "admin")
        plane.kubectl(
            "create", "clusterrolebinding", "peer", "--clusterrole=cluster-admin", f"--serviceaccount={PEER}:admin"
        )
        yield plane


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="runs of ours; the peer makes as many Jobs (default 10)")
    parser.add_argument("--resources", type=int, default=200, help="resources at rest (default 200)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distillery-benchmark-") as folder, running_cluster(Path(folder)) as plane:
        ours, empty = our_latencies(plane, chosen.runs, Path(folder))
        peer, bare = peer_latencies(plane, 2 * chosen.runs + 1, Path(folder))
        full = memory_with(plane, chosen.resources, Path(folder))
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':34}{'distillery':>12}{'bare Kopf':>12}")
    print(f"{'resident at rest, MiB':34}{empty:12.0f}{bare:12.0f}")
    print(f"{f'  with {chosen.resources} resources, MiB':34}{full:12.0f}{'':>12}")
    for label, choose in (("median", statistics.median), ("worst", max)):
        print(f"{f'stage end to next Job, {label}, s':34}{choose(ours):12.2f}{choose(peer):12.2f}")


if __name__ == "__main__":
    main()
