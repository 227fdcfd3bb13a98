"""Distillations for the cluster tests: the least that a spec may say, and what tests ask of a stored one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cluster import Cluster, CommandFailed
from operator_process import conditions
from scripted_image import Script, with_script
from waiting import wait_until

Manifest = dict[str, Any]


def small_spec(**changes: Any) -> Manifest:
    """A spec for the scripted stages, which read no data and ask no teacher; `changes` replace whole fields."""
    return {
        "task": "NLI",
        "data": {"train": {"uri": "rows/train.jsonl"}, "validation": {"uri": "rows/validation.jsonl"}},
        "generation": {"teachers": [{"name": "big", "endpoint": "http://127.0.0.1:9/v1", "model": "teacher"}]},
        "student": {"model": {"uri": "hf://org/small"}},
        "serving": {"runtime": "Transformers"},
        "storage": {"size": "1Gi"},
        **changes,
    }


@dataclass(frozen=True)
class Distilled:
    """One Distillation in the cluster, as an administrator sees it."""

    cluster: Cluster
    namespace: str
    name: str = "small"

    def apply(self, spec: Manifest | None = None, script: Script | None = None, **metadata: Any) -> None:
        """Apply it, with `script` for its stages."""
        manifest = {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "Distillation",
            "metadata": {"name": self.name, "namespace": self.namespace, **metadata},
            "spec": with_script(spec or small_spec(), script or {}),
        }
        self.cluster.apply(manifest)

    def kubectl(self, *arguments: str) -> str:
        """kubectl in its namespace."""
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def patch(self, spec: Manifest) -> None:
        """Change fields of its spec."""
        self.kubectl("patch", "distillation", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self) -> None:
        """Delete it and wait until it is gone."""
        self.kubectl("delete", "distillation", self.name, "--timeout=30s")

    def get(self) -> Manifest:
        """As it is stored."""
        return self.cluster.get("distillation", self.name, self.namespace)

    @property
    def status(self) -> Manifest:
        """Its status."""
        status: Manifest = self.get().get("status") or {}
        return status

    @property
    def conditions(self) -> dict[str, tuple[str, str]]:
        """Status and reason of each condition, by type."""
        return conditions(self.get())

    def message(self, kind: str = "Ready") -> str:
        """The message of one condition; empty where there is none."""
        found = (each for each in self.status.get("conditions", ()) if each["type"] == kind)
        return str(next(found, {}).get("message", ""))

    def stage(self, name: str) -> Manifest:
        """A stage's record; empty where there is none."""
        return next((each for each in self.status.get("stages", ()) if each["name"] == name), {})

    def jobs(self, component: str | None = None) -> list[str]:
        """Names of its Jobs, sorted; of one stage, or all."""
        return sorted(job["metadata"]["name"] for job in self.children("jobs", component))

    def children(self, kind: str, component: str | None = None) -> list[Manifest]:
        """Its children of one kind, such as jobs."""
        selector = f"distillery.dev/name={self.name}" + (
            f",app.kubernetes.io/component={component}" if component else ""
        )
        found: list[Manifest] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def events(self) -> list[Manifest]:
        """The Events about it, oldest first."""
        found = json.loads(self.kubectl("get", "events.v1.events.k8s.io", "-o", "json"))["items"]
        ours = [
            each
            for each in found
            if each["regarding"] | {"kind": "Distillation", "name": self.name} == each["regarding"]
        ]
        return sorted(ours, key=lambda each: str(each["eventTime"]))

    def wait(self, kind: str, status: str = "True", reason: str | None = None, seconds: float = 60.0) -> Manifest:
        """Return it once a condition has this status and, if given, this reason."""

        def seen() -> Manifest | None:
            found = self.get()
            state = conditions(found).get(kind)
            return found if state and state[0] == status and reason in (None, state[1]) else None

        try:
            return wait_until(seen, seconds, f"{kind}={status}/{reason}")
        except AssertionError as problem:
            raise AssertionError(f"{problem}; it stands at {self._ownership()}") from None

    def wait_while_well(self, kind: str, seconds: float) -> Manifest:
        """Return it once a condition is true; fails as soon as it is stalled, since waiting would not help."""
        wait_until(lambda: {kind, "Stalled"} & self.truths(), seconds, kind)
        if "Stalled" in self.truths():
            raise AssertionError(f"it is stalled, at {self._ownership()}")
        return self.get()

    def truths(self) -> set[str]:
        """The types of its conditions that are true."""
        return {kind for kind, (status, _) in self.conditions.items() if status == "True"}

    def wait_ready(self, seconds: float = 60.0) -> Manifest:
        """Return it once kubectl finds it ready for its present spec."""
        try:
            self.kubectl("wait", "--for=condition=Ready", f"distillation/{self.name}", f"--timeout={seconds:g}s")
        except CommandFailed as problem:
            raise AssertionError(f"{problem}; it stands at {self._ownership()}") from None
        return self.get()

    def _ownership(self) -> str:
        return json.dumps({"conditions": self.conditions, "message": self.message(), "jobs": self.jobs()})
