"""Requests at a steady rate while the servers of a student come and go: how many fail, and how long the slowest takes.

    python -m benchmarks.serving.swap NAME --namespace NAMESPACE [--per-second 20] [--patch '{"spec": …}']

On any cluster that kubectl is configured for, with a Distillation that is Ready. A Pod beside the server, with the
server's image, sends the requests through the student's Service and retries none of them. Meanwhile the server is
replaced (`restart-at`, or by another student where --patch makes one), a Pod is evicted as by a drain, and the servers
are scaled down to one and up again; with `--replicas 1` only the first of these.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

Manifest = dict[str, Any]

WAIT_SECONDS = 1800.0
QUIET_SECONDS = 10.0
"""Between two actions, so that a slow request counts for the action that delayed it."""
CLIENT = Path(__file__).with_name("steady_client.py")


class Student:
    """A Distillation and its server, by kubectl."""

    def __init__(self, name: str, namespace: str) -> None:
        self.name, self._namespace = name, namespace

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints. Raises CalledProcessError."""
        command = ["kubectl", "--namespace", self._namespace, *arguments]
        return subprocess.run(command, input=stdin, check=True, text=True, stdout=subprocess.PIPE).stdout

    def get(self, *arguments: str) -> Manifest:
        """An object, or a list."""
        found: Manifest = json.loads(self.kubectl("get", *arguments, "--output", "json"))
        return found

    def servers(self) -> dict[str, bool]:
        """The serving Pods by name, and whether each is ready and to stay."""
        labels = f"app.kubernetes.io/component=serving,distillery.dev/name={self.name}"
        return {pod["metadata"]["name"]: _answers(pod) for pod in self.get("pods", "--selector", labels)["items"]}

    def ready(self) -> bool:
        """Whether the Distillation is Ready in its present generation."""
        found = self.get("distillation", self.name)
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        current = found["status"].get("observedGeneration") == found["metadata"]["generation"]
        return current and conditions.get("Ready") == "True"

    def settled(self, count: int, gone: set[str]) -> bool:
        """Whether exactly `count` Pods serve, all ready and none of `gone`."""
        servers = self.servers()
        return len(servers) == count and all(servers.values()) and not gone & set(servers) and self.ready()

    def training(self) -> str:
        """The training of the student that serves, as the status names it."""
        serving: Manifest = self.get("distillation", self.name)["status"].get("serving") or {}
        return str(serving.get("train"))

    def evict(self, pod: str) -> None:
        """What `kubectl drain` does to a Pod."""
        metadata = {"name": pod, "namespace": self._namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/eviction"
        self.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))

    def scale(self, replicas: int) -> None:
        """Change the number of servers."""
        self.kubectl("scale", f"distillation/{self.name}", f"--replicas={replicas}")

    def replace(self, patch: str | None) -> None:
        """Ask for other Pods: of another student where `patch` makes one, else of the same."""
        if patch:
            self.kubectl("patch", "distillation", self.name, "--type", "merge", "--patch", patch)
        else:
            mark = f"distillery.dev/restart-at={datetime.now(UTC).isoformat()}"
            self.kubectl("annotate", "--overwrite", "distillation", self.name, mark)


def _answers(pod: Manifest) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


class Requests:
    """What the client in its Pod has printed, read anew after each action."""

    def __init__(self, student: Student, pod: str) -> None:
        self._student, self._pod, self._read = student, pod, 0
        self.failed = 0

    def new(self) -> list[Manifest]:
        """The requests that ended since the last call."""
        lines = self._student.kubectl("logs", self._pod).splitlines()
        self._read, new = len(lines), lines[self._read :]
        return [json.loads(line) for line in new]

    def answered(self) -> bool:
        """Whether a request was answered since the last call."""
        return any(line["error"] is None for line in self.new())

    def during(self, action: str, act: Callable[[], object], done: Callable[[], bool]) -> None:
        """Count the requests while `act` is done and until `done`, and print them as a line of the table."""
        started = time.monotonic()
        act()
        wait_until(done, action)
        seconds = time.monotonic() - started
        time.sleep(QUIET_SECONDS)
        self._print(action, seconds, self.new())

    def _print(self, action: str, seconds: float, requests: list[Manifest]) -> None:
        failures = [each for each in requests if each["error"]]
        self.failed += len(failures)
        for failure in failures:
            print(f"{action}: {failure}", file=sys.stderr)
        taken = [each["seconds"] for each in requests]
        print(
            f"| {action} | {seconds:.0f} s | {len(failures)} of {len(requests)} | {median(taken):.3f} s"
            f" | {max(taken):.3f} s |",
            flush=True,
        )


def main() -> int:
    """Print the table; the exit code is 1 if a request failed."""
    options = parse_arguments()
    student = Student(options.name, options.namespace)
    with client_pod(student, options) as pod:
        requests = Requests(student, pod)
        wait_until(requests.answered, "the first answer")
        print("| what happened | until all was quiet | failed | median | slowest |\n|---|---|---|---|---|", flush=True)
        act(student, requests, options)
    return min(1, requests.failed)


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving.swap", description="No request is lost in a swap.")
    parser.add_argument("name", help="the Distillation, which is Ready")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--per-second", type=float, default=20.0, help="requests per second (20)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds after which a request has failed (30)")
    parser.add_argument("--max-tokens", type=int, default=4, help="length of a reply (4)")
    parser.add_argument("--replicas", type=int, default=2, help="servers before and after (2)")
    parser.add_argument("--patch", help="a merge patch of the Distillation that makes another student")
    return parser.parse_args()


def act(student: Student, requests: Requests, options: argparse.Namespace) -> None:
    """Let the servers come and go."""
    everything = options.replicas
    requests.during(
        f"scaled to {everything}", lambda: student.scale(everything), lambda: student.settled(everything, set())
    )
    before, training = set(student.servers()), student.training()

    def replaced() -> bool:
        """Another student may have come into the same Pods, as an adapter."""
        gone = set() if options.patch else before
        return student.settled(everything, gone) and (student.training() != training or not options.patch)

    requests.during(
        "another student" if options.patch else "other Pods", lambda: student.replace(options.patch), replaced
    )
    if everything == 1:
        return  # Without a second one, a drain makes a gap.
    drained = min(student.servers())
    requests.during("drained", lambda: student.evict(drained), lambda: student.settled(everything, {drained}))
    requests.during("scaled to 1", lambda: student.scale(1), lambda: student.settled(1, set()))
    requests.during(
        f"scaled to {everything} again", lambda: student.scale(everything), lambda: student.settled(everything, set())
    )


@contextmanager
def client_pod(student: Student, options: argparse.Namespace) -> Iterator[str]:
    """The Pod that sends the requests."""
    pod = client_manifest(student.get("deployment", student.name), options)
    name = pod["metadata"]["name"]
    student.kubectl("delete", "pod", name, "--ignore-not-found", "--wait")
    student.kubectl("create", "--filename", "-", stdin=json.dumps(pod))
    try:
        student.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=5m")
        yield name
    finally:
        student.kubectl("delete", "pod", name, "--grace-period=1", "--wait=false")


def client_manifest(server: Manifest, options: argparse.Namespace) -> Manifest:
    """A Pod with the image of `server`, the Deployment, with its rights and its clients' key."""
    template = server["spec"]["template"]["spec"]
    [container] = [each for each in template["containers"] if each["name"] == "stage"]
    keys = [each for each in container.get("env", ()) if "secretKeyRef" in each.get("valueFrom", {})]
    message = {"role": "user", "content": "Does it rain?"}
    body = {"model": options.name, "messages": [message], "max_tokens": options.max_tokens}
    arguments = (options.name, "8000", json.dumps(body), str(options.per_second), str(options.timeout))
    kept = ("imagePullSecrets", "nodeSelector", "tolerations", "securityContext")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{options.name}-steady-client"},
        "spec": {
            **{field: template[field] for field in kept if field in template},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "client",
                    "image": container["image"],
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", CLIENT.read_text(), *arguments, *(key["name"] for key in keys[:1])],
                    "env": keys[:1],
                    "securityContext": container.get("securityContext", {}),
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                }
            ],
        },
    }


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, also while the API server does not answer. Raises SystemExit after half an hour."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        with suppress(subprocess.CalledProcessError):
            if condition():
                return
        time.sleep(1)
    raise SystemExit(f"{what}: not within {WAIT_SECONDS:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
