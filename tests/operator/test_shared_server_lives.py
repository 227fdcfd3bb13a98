"""Whatever happens to a host and its guest, in whatever order, both are served again once all goes well."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_shared_server import SharedServer, Student

SERVING = {"host": {"runtime": "VLLM", "adapter": "LoRA"}, "guest": {"adapter": "LoRA", "sharedServer": "host"}}
SEEDS = {"host": 1, "guest": 2}


def apply(namespace: SharedServer, name: str) -> Student:
    """Apply a Distillation that does not exist."""
    now = max((each.now for each in namespace.students.values()), default=None)
    student = namespace.add(name, serving=SERVING[name], training={"seed": SEEDS[name]})
    student.now = now or student.now
    return student


@cache
def _served() -> SharedServer:
    namespace = SharedServer()
    for name in SERVING:
        apply(namespace, name)
    go_well(namespace)
    return namespace


def go_well(namespace: SharedServer) -> None:
    """All stages and Pods do what they should until both are ready."""
    for _ in range(25):
        namespace.settle()
        students = list(namespace.students.values())
        for each in students:
            if each.live_jobs():
                each.start()
                each.finish()
        host = namespace.students["host"]
        if ("Deployment", "host") in host.objects:
            host.serve()
        namespace.settle()
        if all(each.truth(ConditionType.READY) == "True" and not each.live_jobs() for each in students):
            return
    raise AssertionError([(each.name, each.status.conditions[0]) for each in namespace.students.values()])


def fail_verify(student: Student) -> None:
    labels = student.live_jobs()[0]["metadata"]["labels"] if student.live_jobs() else {}
    if labels.get("app.kubernetes.io/component") == Stage.VERIFY:
        student.start()
        student.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")


def finish(student: Student) -> None:
    if student.live_jobs():
        student.start()
        student.finish()


def serve(student: Student) -> None:
    if ("Deployment", student.name) in student.objects:
        student.serve()


EVENTS: tuple[Callable[[Student, Random], None], ...] = (
    lambda student, _: finish(student),
    lambda student, _: fail_verify(student),
    lambda student, _: serve(student),
    lambda student, random: student.change(training={"seed": random.randint(0, 99)}),
    lambda student, random: student.reconcile(dies_after=random.randint(0, 3)),
    lambda student, random: student.change(suspend=random.random() < 0.5),
    lambda student, _: student.change(serving={**student.spec["serving"], "modelNames": [f"of-{student.name}"]}),
    lambda student, _: student.namespace.remove(student.name),
    lambda student, _: student.delete("ConfigMap", f"{student.name}-adapters"),
    lambda student, _: student.delete("Service", student.name),
    lambda student, _: student.request_retry(),
)
OF_HOST: tuple[Callable[[Student, Random], None], ...] = (
    lambda host, random: host.change(serving={**host.spec["serving"], "image": f"vllm:{random.randint(0, 3)}"}),
    lambda host, random: host.change(serving={**host.spec["serving"], "replicas": random.randint(0, 1)}),
    lambda host, _: host.serving_pods.clear(),
)


def live(namespace: SharedServer, random: Random) -> None:
    """A few events, with or without time for the operator between them."""
    for _ in range(random.randint(2, 6)):
        student = namespace.students[random.choice(("host", "guest"))]
        if student.exists:
            random.choice((*EVENTS, *OF_HOST) if student.name == "host" else EVENTS)(student, random)
        else:
            apply(namespace, student.name)
        if random.random() < 0.6:
            namespace.settle()
        namespace.wait(random.choice((1, 70, 700)))


@pytest.mark.parametrize("seed", range(12))
def test_host_and_guest_are_served_again(seed: int) -> None:
    namespace = copy.deepcopy(_served())
    live(namespace, Random(seed))
    for name, student in list(namespace.students.items()):
        (student if student.exists else apply(namespace, name)).change(suspend=False, serving=SERVING[name])
        namespace.students[name].request_retry()
    go_well(namespace)
    host, guest = namespace.students["host"], namespace.students["guest"]
    loaded = json.loads(host.adapters["data"]["adapters.json"])
    assert loaded == {each.name: f"/adapters/{each.plan.stage(Stage.TRAIN).folder}" for each in (host, guest)}
    assert host.status.serving is not None
    assert (host.status.serving.guests, host.decisions(), guest.decisions()) == (("guest",), (), ())
