"""A host and its guests, each in a simulated cluster of its own, which see of each other what the operator shows them.

A change of one has all of them reconciled, as its events do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.observation import Children, GuestObjects, HostObjects
from simulated_cluster import SimulatedCluster

CLAIM = "models"
SHARED_CLAIM = {
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": CLAIM, "uid": "uid of the claim"},
    "spec": {"accessModes": ["ReadWriteOnce"]},
    "status": {"phase": "Bound"},
}


class Student(SimulatedCluster):
    """One Distillation whose student is an adapter: with `sharedServer`, on the server of that one."""

    def __init__(self, namespace: SharedServer, name: str, **changes: Any) -> None:
        self.name, self.uid, self.namespace = name, str(uuid5(NAMESPACE_DNS, name)), namespace
        self.exists, self.is_valid = True, True
        super().__init__(**{"storage": {"claimName": CLAIM}, **changes})
        self.objects["PersistentVolumeClaim", CLAIM] = SHARED_CLAIM

    def with_others(self, children: Children) -> Children:
        """The children, with the host and the guests that concern this one."""
        plan = self.plan
        guests = self.namespace.guests_of(plan.host or self.name)
        seen = tuple(GuestObjects(each.plan, each.adapters) for each in guests if each is not self)
        return replace(children, host=self._host(plan.host), guests=seen)

    def _host(self, name: str | None) -> HostObjects | None:
        host = self.namespace.students.get(name or "")
        if host is None or not host.exists:
            return HostObjects() if name else None
        return HostObjects(
            host.plan if host.is_valid else None,
            uid=host.uid,
            invalid=not host.is_valid,
            stalled=host.reason(ConditionType.STALLED),
            deployment=host.objects.get(("Deployment", host.name)),
            config_map=host.adapters,
            pods=tuple(host.serving_pods),
        )

    @property
    def adapters(self) -> Any:
        """The ConfigMap with its adapters."""
        return self.objects.get(("ConfigMap", f"{self.name}-adapters"))

    def run(self, *stages: Stage) -> None:
        """Everything goes well until those stages are done; the host's Pods start, where they have to."""
        for stage in stages:
            if stage is Stage.PUBLISH:
                continue
            self.namespace.settle()
            if stage is Stage.VERIFY and self.plan.host is None:
                self.serve()
                self.namespace.settle()
            self.start()
            self.finish()
        self.namespace.settle()


class SharedServer:
    """The namespace with all of them."""

    def __init__(self) -> None:
        self.students: dict[str, Student] = {}

    def add(self, name: str, **changes: Any) -> Student:
        """A Distillation is applied."""
        self.students[name] = Student(self, name, **changes)
        return self.students[name]

    def remove(self, name: str) -> None:
        """A Distillation is deleted, and the garbage collector deletes all that it owns."""
        student = self.students[name]
        student.exists, student.objects, student.pods, student.serving_pods = False, {}, {}, []

    def guests_of(self, host: str) -> list[Student]:
        """Those that name this host."""
        return [each for each in self._living() if each.plan.host == host]

    def settle(self) -> None:
        """Reconcile all of them until nothing changes any more."""
        for _ in range(20):
            before = [(each.status, repr(each.objects)) for each in self._living()]
            for each in self._living():
                each.reconcile()
                each.collect()
            if before == [(each.status, repr(each.objects)) for each in self._living()]:
                return
        raise AssertionError("no rest after 20 passes")

    def wait(self, seconds: float) -> None:
        """Time passes for all of them."""
        for each in self.students.values():
            each.wait(seconds)

    def _living(self) -> list[Student]:
        return [each for each in self.students.values() if each.exists]
