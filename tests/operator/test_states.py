"""The states that a Distillation reaches by one event at any moment of its life, and by three of a sample; with
CHAOS=whole by any two: none is a dead end, and none is misread by those who wait for it."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType, DistillationStatus
from distillery_operator.errors import Forbidden
from gitops_health import argo_health, flux_health, kstatus
from simulated_cluster import owned_by
from simulated_life import CANARY, CANARY_MOMENTS, IDLE, MOMENTS, SimulatedLife

GATE = {"gate": {"minScore": 0.5}}
WHOLE = os.environ.get("CHAOS") == "whole"
Event = Callable[[SimulatedLife], None]


class NotNow(Exception):
    """The event cannot happen in this state."""


def needs(holds: object) -> None:
    if not holds:
        raise NotNow


def with_pod(event: Event) -> Event:
    """The event, where the live Job has a Pod."""

    def happen(life: SimulatedLife) -> None:
        needs(life.live and any(owned_by(pod, life.job()) for pod in life.pods.values()))
        event(life)

    return happen


def with_server(event: Event) -> Event:
    """The event, where there is a Deployment."""

    def happen(life: SimulatedLife) -> None:
        needs(("Deployment", "conjnli") in life.objects)
        event(life)

    return happen


def deleted(kind: str) -> Event:
    """Somebody deletes the newest child of that kind. A deleted claim is remembered, for a restore."""

    def happen(life: SimulatedLife) -> None:
        names = [name for found, name in life.objects if found == kind]
        needs(names)
        if kind == "PersistentVolumeClaim":
            life.lost = life.objects[kind, names[-1]]  # type: ignore[attr-defined]
        life.delete(kind, names[-1])
        life.collect()

    return happen


def a_pod_is_deleted(life: SimulatedLife) -> None:
    life.pods.pop(life.pod()["metadata"]["name"])


def the_deployment_is_edited(life: SimulatedLife) -> None:
    pod = life.objects["Deployment", "conjnli"]["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = "theirs:1"


def with_candidate(event: Event) -> Event:
    """The event, where there is a candidate."""

    def happen(life: SimulatedLife) -> None:
        needs(("Deployment", "conjnli-candidate") in life.objects)
        event(life)

    return happen


def the_candidate_is_late(life: SimulatedLife) -> None:
    life.serve_candidate(ready=0)
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    life.objects["Deployment", "conjnli-candidate"]["status"]["conditions"] = [condition]


def the_service_is_edited(life: SimulatedLife) -> None:
    needs(("Service", "conjnli") in life.objects)
    life.objects["Service", "conjnli"]["spec"]["selector"] = {"app": "theirs"}


def the_rollout_is_late(life: SimulatedLife) -> None:
    life.serve(ready=0)
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    life.objects["Deployment", "conjnli"]["status"]["conditions"] = [condition]


def the_status_is_lost(life: SimulatedLife) -> None:
    """As where a backup without status is restored."""
    life.status = DistillationStatus()


def refused(verb: str, kind: str) -> Event:
    def happen(life: SimulatedLife) -> None:
        life.refuses[verb, kind] = Forbidden("exceeded quota: team-a")

    return happen


def serving(**fields: Any) -> Event:
    return lambda life: life.change(serving={**life.spec["serving"], **fields})


def spec(**fields: Any) -> Event:
    return lambda life: life.change(**fields)


EVENTS: dict[str, Event] = {
    "a stage is done": with_pod(lambda life: life.complete()),
    "a stage crashes": with_pod(lambda life: life.fail(1)),
    "a stage needs a person": with_pod(lambda life: life.fail(2, Reason.INVALID_DATA, "line 3: no label")),
    "a stage tries later": with_pod(lambda life: life.fail(3, Reason.TEACHER_UNREACHABLE, "no answer")),
    "a stage runs out of memory": with_pod(lambda life: life.end(137, reason="OOMKilled")),
    "a stage is terminated": with_pod(lambda life: life.fail(143, Reason.TERMINATED, "stopped")),
    "an image cannot be pulled": with_pod(lambda life: life.wait_for("ImagePullBackOff", "no such image")),
    "a Secret is missing": with_pod(lambda life: life.wait_for("CreateContainerConfigError", "no secret")),
    "a Pod is deleted": with_pod(a_pod_is_deleted),
    **{f"a {kind} is deleted": deleted(kind) for kind in ("Job", "ConfigMap", "Deployment", "Service")},
    "the claim is deleted": deleted("PersistentVolumeClaim"),
    "the Deployment is edited": with_server(the_deployment_is_edited),
    "the Service is edited": the_service_is_edited,
    "the server answers": with_server(lambda life: life.serve()),
    "the server is down": with_server(lambda life: life.serve(ready=0)),
    "the rollout is late": with_server(the_rollout_is_late),
    "the candidate answers": with_candidate(lambda life: life.serve_candidate()),
    "the candidate is down": with_candidate(lambda life: life.serve_candidate(ready=0)),
    "the candidate is late": with_candidate(the_candidate_is_late),
    "the server is deleted beside a candidate": with_candidate(lambda life: life.delete("Deployment", "conjnli")),
    "no Pod may be created": refused("create", "Pod"),
    "no Job may be created": refused("create", "Job"),
    "no Job may be deleted": refused("delete", "Job"),
    "no ConfigMap may be written": refused("create", "ConfigMap"),
    "no Deployment may be created": refused("create", "Deployment"),
    "no Deployment may be changed": refused("patch", "Deployment"),
    "another student": spec(training={"seed": 7}),
    "other rows": spec(data={**SimulatedLife().spec["data"], "version": "2"}),
    "another server": serving(image="other:1"),
    "a gate that nobody meets": spec(evaluation={"gate": {"minScore": 1}}),
    "no gate": spec(evaluation={}),
    "suspended": spec(suspend=True),
    "resumed": spec(suspend=False),
    "scaled to zero": serving(replicas=0),
    "scaled up": serving(replicas=1),
    "no server": serving(mode="None"),
    "an image of the model": serving(modelImage={"repository": "registry.example/team/student"}),
    "an image elsewhere": serving(modelImage={"repository": "other.example/student", "pullSecrets": ["pull"]}),
    "no image of the model": serving(modelImage=None),
    "the status is lost": the_status_is_lost,
    "a retry": lambda life: life.request_retry(),
    "ten minutes pass": lambda life: life.wait(700),
    "an hour passes": lambda life: life.wait(4000),
}


IMAGE = " from an image"
MOMENTS_FROM_IMAGE = tuple(f"{moment}{IMAGE}" for moment in (Stage.PUBLISH, IDLE))
FROM_IMAGE = {"runtime": "Transformers", "modelImage": {"repository": "registry.example/team/student"}}


@cache
def _at(moment: str) -> SimulatedLife:
    """A life at that moment."""
    is_canary = moment in CANARY_MOMENTS
    serving = {"serving": FROM_IMAGE} if moment.endswith(IMAGE) else {}
    life = SimulatedLife(evaluation=GATE, **(CANARY if is_canary else serving))
    (life.reach_canary if is_canary else life.reach)(moment.removesuffix(IMAGE))
    return life


def after(life: SimulatedLife, *events: str) -> SimulatedLife:
    """What becomes of a life by these events, each of which is seen. Raises NotNow."""
    future = copy.deepcopy(life)
    for event in events:
        future.wait(1)
        EVENTS[event](future)
        future.settle()
    return future


def reached(moment: str, depth: int) -> Iterator[tuple[tuple[str, ...], SimulatedLife]]:
    """Every different state within that many events, with the first events that lead to it."""
    states: dict[Hashable, tuple[tuple[str, ...], SimulatedLife]] = {key(_at(moment)): ((), _at(moment))}
    newest = list(states.values())
    for _ in range(depth):
        newest = [*_following(newest, states)]
    yield from states.values()


def _following(
    lives: list[tuple[tuple[str, ...], SimulatedLife]], states: dict[Hashable, tuple[tuple[str, ...], SimulatedLife]]
) -> Iterator[tuple[tuple[str, ...], SimulatedLife]]:
    for events, life in lives:
        for event in EVENTS:
            try:
                future = after(life, event)
            except NotNow:
                continue
            if key(future) not in states:
                states[key(future)] = ((*events, event), future)
                yield states[key(future)]


def key(life: SimulatedLife) -> Hashable:
    """What tells two states apart: neither times nor numbers of attempts."""
    conditions = {(each.type, each.status, each.reason) for each in life.status.conditions}
    records = {
        (each.name, each.completion_time is None, each.reason, each.retry_time is None) for each in life.status.stages
    }
    pods = sorted(json.dumps(pod["status"].get("phase")) for pod in life.pods.values())
    server = life.objects.get(("Deployment", "conjnli"))
    wanted = json.dumps([life.spec.get("training"), life.spec["data"], life.spec["serving"], life.spec.get("suspend")])
    kinds = {(kind, name.endswith("-candidate")) for kind, name in life.objects}
    candidate = life.objects.get(("Deployment", "conjnli-candidate"), {})
    canary = life.status.serving and life.status.serving.canary
    beside = (candidate.get("status", {}).get("availableReplicas"), canary and (canary.step, canary.percent))
    answers = server and server.get("status", {}).get("availableReplicas")
    return (
        frozenset(conditions),
        frozenset(records),
        tuple(pods),
        frozenset(kinds),
        answers,
        beside,
        wanted,
        frozenset(life.refuses),
    )


def check(events: tuple[str, ...], life: SimulatedLife) -> None:
    check_conditions(events, life)
    check_tools(events, life)
    check_progress(events, life)


def check_conditions(events: tuple[str, ...], life: SimulatedLife) -> None:
    truth = {each.type: each.status for each in life.status.conditions}
    explained = [
        kind for kind in (ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED) if kind in truth
    ]
    assert len(explained) == (0 if truth[ConditionType.READY] == "True" else 1), (events, life.status.conditions)
    assert all(truth[kind] == "True" for kind in explained), events
    assert life.status.observed_generation == life.generation, events
    assert all(each.observed_generation == life.generation for each in life.status.conditions), events


READ_AS = {
    "Current": ("Healthy", {"current"}),
    "InProgress": ("Progressing", {"inProgress"}),
    "Failed": ("Degraded", {"failed"}),
}


def check_tools(events: tuple[str, ...], life: SimulatedLife) -> None:
    """kstatus, Argo CD and Flux read the same; of a suspended one, kstatus says that it is not finished."""
    conditions = tuple((each.type.value, each.status.value) for each in life.status.conditions)
    reading = _readings(conditions)
    if life.truth(ConditionType.SUSPENDED) == "True":
        assert reading == ("InProgress", "Suspended", frozenset({"current"})), events
    else:
        argo, flux = READ_AS[reading[0]]
        assert reading[1:] == (argo, flux), (events, conditions)


@cache
def _readings(conditions: tuple[tuple[str, str], ...]) -> tuple[str, str, frozenset[str]]:
    listed = [{"type": kind, "status": status, "message": ""} for kind, status in conditions]
    resource = {"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": listed}}
    return kstatus(resource), argo_health(resource)["status"], frozenset(flux_health(resource))


def check_progress(events: tuple[str, ...], life: SimulatedLife) -> None:
    """What is said to be in progress is: a Job or a rollout is under way, or it is looked at again by itself."""
    if life.truth(ConditionType.RECONCILING) != "True":
        return
    server = life.objects.get(("Deployment", "conjnli"))
    answers = server and server.get("status", {}).get("availableReplicas")
    goes_on = life.live or (server and not answers) or life.requeue_after() or life.refuses
    assert goes_on, (events, life.status.conditions)


def cure(life: SimulatedLife) -> None:
    """Removes whatever may have caused the state, as a person would, and asks for a retry."""
    life.refuses.clear()
    if lost := getattr(life, "lost", None):
        life.objects.setdefault(("PersistentVolumeClaim", lost["metadata"]["name"]), lost)
    life.change(suspend=False, evaluation=GATE, serving={**life.spec["serving"], "replicas": 1, "mode": "Deployment"})
    life.wait(4000)
    life.request_retry()


ENDING_WELL: set[Hashable] = set()
"""Cured states that have been followed to their end."""


def check_end(events: tuple[str, ...], life: SimulatedLife) -> None:
    """With its cause removed, and some luck, every life ends ready. States that a cure makes alike end alike."""
    cure(life)
    life.settle()
    if key(life) in ENDING_WELL:
        return
    ENDING_WELL.add(key(life))
    for _ in range(14):
        life.settle()
        if life.is_ready and not life.live:
            return
        if any(owned_by(pod, life.job()) for pod in life.pods.values()) if life.live else True:
            life.goes_well()
        life.wait(400)
    raise AssertionError(f"no way out after {events}: {life.status}")


@pytest.mark.parametrize("moment", [*MOMENTS, *CANARY_MOMENTS, *MOMENTS_FROM_IMAGE])
def test_after_any_event_the_state_is_read_rightly_and_is_no_dead_end(moment: str) -> None:
    for events, life in reached(moment, 2 if WHOLE else 1):
        check(events, life)
        check_end(events, copy.deepcopy(life))


@pytest.mark.parametrize("seed", range(200 if WHOLE else 8))
def test_after_three_events_of_a_sample_it_is_neither(seed: int) -> None:
    chosen = random.Random(seed)
    moment, events = chosen.choice((*MOMENTS, *CANARY_MOMENTS)), tuple(chosen.choices(sorted(EVENTS), k=3))
    life = _at(moment)
    for event in events:
        try:
            life = after(life, event)
        except NotNow:
            continue
        check((moment, *events), life)
    check_end((moment, *events), copy.deepcopy(life))
