"""Thousands of resources: how soon they have their first Jobs, what the operator asks for and takes meanwhile and at
rest, how soon it is quiet again after a restart, and how soon a stage follows another while hundreds run.

    python -m benchmarks.operator.fleet [--resources 1000] [--active 200]

On the control plane of the cluster tests without a node: what kubelets report is written by this program.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

import requests
from benchmarks.operator.finished_children import create_finished_children, now, pod_status, stage_ended
from benchmarks.operator.usage import OperatorUsage, ProcessorTimes, Requests, requests_by_kind

from cluster_binaries import ensure_binaries
from control_plane import ControlPlane
from distillations import small_spec
from operator_process import OperatorProcess, grant_rights, install_crd
from waiting import wait_until

Manifest = dict[str, Any]

NAMESPACE = "distillery"
CONNECTIONS = 20
REST_SECONDS = 60.0
DISTILLATIONS = f"/apis/distillery.dev/v1alpha1/namespaces/{NAMESPACE}/distillations"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CLAIMS, CONFIG_MAPS = (f"/api/v1/namespaces/{NAMESPACE}/{kind}" for kind in ("persistentvolumeclaims", "configmaps"))
SELDOM_RENEWED = {
    "DISTILLERY_LEASE_DURATION": "60s",
    "DISTILLERY_LEASE_RENEW_DEADLINE": "50s",
    "DISTILLERY_LEASE_RETRY": "10s",
}
"""So that to renew the Lease is not taken for work: the tests' settings do it twice a second."""
COLLECTIONS = {"Job": JOBS, "Pod": PODS, "PersistentVolumeClaim": CLAIMS, "ConfigMap": CONFIG_MAPS}


class Api:
    """Requests of an administrator, over one connection for each thread."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane, self._local = plane, threading.local()

    def __call__(self, method: str, path: str, body: Manifest | None = None, **headers: str) -> Manifest:
        answer = self._session.request(method, self._plane.server + path, json=body, headers=headers, timeout=120)
        answer.raise_for_status()
        found: Manifest = answer.json()
        return found

    def for_each(self, work: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
        """Do `work` over all connections at once."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(work, things))

    def merge(self, path: str, patch: Manifest) -> Manifest:
        """JSON merge patch."""
        return self("PATCH", path, patch, **{"Content-Type": "application/merge-patch+json"})

    def requests_so_far(self) -> Requests:
        """The requests that the API server has answered so far."""
        return requests_by_kind(self._session.get(f"{self._plane.server}/metrics", timeout=60).text)

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            session = self._local.session = requests.Session()
            session.trust_env = False
            session.verify = str(self._plane.certificates.authority)
            session.headers["Authorization"] = f"Bearer {self._plane.token('admin')}"
        found: requests.Session = self._local.session
        return found


class FirstJobs(threading.Thread):
    """Watches Jobs, and keeps when each was first seen."""

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(daemon=True)
        self._plane, self.seen = plane, dict[str, float]()

    def run(self) -> None:
        """Follow the watch until the API server ends."""
        with suppress(requests.RequestException):
            self._follow()

    def _follow(self) -> None:
        headers = {
            "Authorization": f"Bearer {self._plane.token('admin')}",
            "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
        url, authority = f"{self._plane.server}{JOBS}?watch=1", str(self._plane.certificates.authority)
        with requests.get(url, headers=headers, verify=authority, stream=True, timeout=3600) as stream:
            for line in stream.iter_lines(chunk_size=None):
                event = json.loads(line)
                if event["type"] == "ADDED":
                    self.seen.setdefault(event["object"]["metadata"]["name"], time.monotonic())


def distillation(name: str, **spec: Any) -> Manifest:
    """One that the scripted stages could run."""
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": name},
        "spec": small_spec(**spec),
    }


def create_all(plane: ControlPlane, api: Api, operator: OperatorProcess, count: int) -> None:
    """All at once, until each has its first Job."""
    jobs = FirstJobs(plane)
    jobs.start()
    time.sleep(2)
    usage, times, before = OperatorUsage(operator), ProcessorTimes(plane, operator), api.requests_so_far()
    started = time.monotonic()
    api.for_each(lambda number: api("POST", DISTILLATIONS, distillation(f"r{number}")), range(count))
    created = time.monotonic() - started
    wait_until(lambda: len(jobs.seen) >= count, 900, "the first Jobs")
    seconds = max(jobs.seen.values()) - started
    print(f"{count} created in {created:.1f} s; the last first Job after {seconds:.1f} s; {usage}", flush=True)
    print(f"  CPU s until then: {times}", flush=True)
    quiet = usage.wait_until_quiet(started)
    print(f"  quiet after {quiet:.1f} s; {usage}", flush=True)
    print(f"  CPU s until then: {times}", flush=True)
    for kind, number in sorted((api.requests_so_far() - before).items()):
        print(f"  {number / count:6.2f} {kind}", flush=True)


def follow_stages(api: Api, active: int) -> None:
    """Seconds from the end of a stage, as its Pod's status has it, to the next Job, while `active` stages run."""
    trainings = FirstJobs(api._plane)
    trainings.start()
    pods = {each["metadata"]["labels"]["distillery.dev/name"]: each for each in api("GET", PODS)["items"]}
    chosen = dict(sorted(pods.items())[:active])
    running = pod_status("Running", {"running": {"startedAt": now()}})
    api.for_each(lambda pod: _report(api, pod, running), chosen.values())
    time.sleep(REST_SECONDS / 4)
    ended = {}
    for name, pod in chosen.items():
        ended[name] = time.monotonic()
        _report(api, pod, stage_ended(pod["metadata"]["labels"]))
        time.sleep(0.1)
    followed = wait_until(lambda: (found := _following(trainings.seen, ended)) and len(found) == active and found, 60)
    latencies = sorted(followed[name] - ended[name] for name in ended)
    worst = latencies[int(len(latencies) * 0.95)]
    print(f"{active} active: stage end to next Job, median {statistics.median(latencies):.2f} s, p95 {worst:.2f} s")


def _following(seen: dict[str, float], ended: dict[str, float]) -> dict[str, float]:
    begun = {job.split("-train-")[0]: at for job, at in dict(seen).items() if "-train-" in job}
    return {name: begun[name] for name in ended if name in begun}


def _report(api: Api, pod: Manifest, status: Manifest) -> None:
    api.merge(f"{PODS}/{pod['metadata']['name']}/status", {"status": status})


def rest_and_restart(api: Api, operator: OperatorProcess, count: int) -> None:
    """What is asked for at rest, and how soon a restarted operator is quiet."""
    before = api.requests_so_far()
    time.sleep(REST_SECONDS)
    print(f"at rest with {count}: {((api.requests_so_far() - before).total()) / REST_SECONDS:.2f} requests a second")
    operator.terminate(30)
    started = time.monotonic()
    operator.start()
    operator.wait_until_leading(120)
    measured = OperatorUsage(operator)
    print(f"restarted with {count}: quiet after {measured.wait_until_quiet(started):.1f} s; {measured}")


def make_ready(api: Api, count: int) -> None:
    """Distillations that have run already, with the children of three finished stages."""
    api.for_each(lambda number: _make_ready(api, f"ready-{number}"), range(count))


def _make_ready(api: Api, name: str) -> None:
    def post(manifest: Manifest) -> Manifest:
        path = COLLECTIONS[manifest["kind"]]
        stored = api("POST", path, {key: value for key, value in manifest.items() if key != "status"})
        if "status" in manifest:
            api.merge(f"{path}/{stored['metadata']['name']}/status", {"status": manifest["status"]})
        return stored

    created = api("POST", DISTILLATIONS, distillation(name, serving={"mode": "None"}))
    create_finished_children(created, post)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resources", type=int, default=1000, help="Distillations (default 1000)")
    parser.add_argument("--active", type=int, default=200, help="stages that run at once (default 200)")
    parser.add_argument("--ready", type=int, nargs="*", default=[1000, 5000], help="resources at rest")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distillery-fleet-") as folder:
        with ControlPlane(ensure_binaries(), Path(folder) / "work") as plane, _operator(plane, folder) as operator:
            api = Api(plane)
            operator.wait_until_leading(120)
            create_all(plane, api, operator, chosen.resources)
            plane.stop_scheduler()
            follow_stages(api, min(chosen.active, chosen.resources))
        for count in chosen.ready:
            with ControlPlane(ensure_binaries(), Path(folder) / f"ready-{count}") as plane:
                _measure_ready(plane, count, folder)
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _measure_ready(plane: ControlPlane, count: int, folder: str) -> None:
    api, operator = Api(plane), _operator(plane, folder)
    plane.stop_controllers()
    make_ready(api, count)
    with operator:
        operator.wait_until_leading(120)
        measured, started = OperatorUsage(operator), time.monotonic()
        measured.wait_until_quiet(started)
        rest_and_restart(api, operator, count)


def _operator(plane: ControlPlane, folder: str) -> OperatorProcess:
    """An operator that is not started yet, with the chart's rights in one namespace."""
    install_crd(plane)
    plane.kubectl("create", "namespace", NAMESPACE)
    wait_until(lambda: plane.get("serviceaccount", "default", NAMESPACE))
    kubeconfig = grant_rights(plane, NAMESPACE, [NAMESPACE])
    log = Path(folder) / "operator.log"
    return OperatorProcess(kubeconfig, NAMESPACE, log, **SELDOM_RENEWED)


if __name__ == "__main__":
    main()
