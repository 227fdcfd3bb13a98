"""A candidate that takes over stands in for the Pods that are replaced: no third set of devices, and no gap on the way
back."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import Canary, ConditionType, ServingStatus
from distillery_operator.errors import Forbidden
from simulated_cluster import SimulatedCluster

READY, AVAILABLE, STALLED = ConditionType.READY, ConditionType.AVAILABLE, ConditionType.STALLED
NAME, CANDIDATE = ("Deployment", "conjnli"), ("Deployment", "conjnli-candidate")
SERVICES = (("Service", "conjnli"), ("Service", "conjnli-candidate"))
FIRST = "nxevyml5"
ONE_BY_ONE = {"maxUnavailable": 1, "maxSurge": 0}
WITH_ANOTHER = {"maxUnavailable": 0, "maxSurge": 1}
NO_IMAGE = {"reason": "ErrImagePull", "message": "not found"}
ROUTE = {
    "kind": "HTTPRoute",
    "hostnames": ["student.example.com"],
    "parentRefs": [{"name": "public"}],
    "access": "Open",
}

Raw = dict[str, Any]


def canary_of(**serving: Any) -> Raw:
    steps = [{"percent": 50, "duration": "1m"}]
    return {"runtime": "Transformers", "rollout": {"strategy": "Canary", "steps": steps}, **serving}


def in_last_step(serving: Raw | None = None, **changes: Any) -> SimulatedCluster:
    """A second student, verified and in the only step of its canary."""
    storage = {"accessModes": ["ReadWriteMany"]}
    cluster = SimulatedCluster(serving=serving or canary_of(), **{"storage": storage, **changes})
    cluster.run_stages(*Stage)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()
    cluster.serve_candidate()
    cluster.settle()
    assert canary(cluster) is not None
    return cluster


def taking_over(serving: Raw | None = None, **changes: Any) -> SimulatedCluster:
    """The same, once the server's own Pods are to be replaced."""
    cluster = in_last_step(serving, **changes)
    cluster.wait(60)
    cluster.settle()
    assert label(cluster) == label(cluster, CANDIDATE)
    return cluster


def serving(cluster: SimulatedCluster) -> ServingStatus:
    assert cluster.status.serving is not None
    return cluster.status.serving


def canary(cluster: SimulatedCluster) -> Canary | None:
    return serving(cluster).canary


def label(cluster: SimulatedCluster, key: tuple[str, str] = NAME) -> str:
    return str(cluster.objects[key]["spec"]["template"]["metadata"]["labels"]["distillery.dev/server"])


def replacement(cluster: SimulatedCluster) -> Any:
    return cluster.objects[NAME]["spec"]["strategy"].get("rollingUpdate")


def replace_the_pod(cluster: SimulatedCluster, waiting: Raw | None = None) -> None:
    """The Deployment's only Pod has gone, and one of its newest version is still to be ready."""
    assert replacement(cluster) == ONE_BY_ONE
    cluster.serve(ready=0)
    cluster.roll_out(waiting)


@pytest.mark.parametrize("route", [None, ROUTE], ids=["by Pods", "by weights"])
def test_no_pod_starts_beside_both_servers(route: Raw | None) -> None:
    cluster = in_last_step(canary_of(**({"route": route} if route else {})))
    stable, candidate = label(cluster), label(cluster, CANDIDATE)
    assert replacement(cluster) == WITH_ANOTHER
    cluster.wait(60)
    for _ in range(10):
        cluster.reconcile()
        assert candidate in cluster.selected() or label(cluster) == stable
        assert replacement(cluster) == (WITH_ANOTHER if label(cluster) == stable else ONE_BY_ONE)
    assert label(cluster) == candidate
    replace_the_pod(cluster)
    cluster.settle()
    assert (cluster.selected(), cluster.truth(READY), cluster.truth(AVAILABLE)) == ([candidate], "Unknown", "True")
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), CANDIDATE in cluster.objects, replacement(cluster)) == ("True", False, WITH_ANOTHER)
    assert cluster.decisions() == ()


def test_the_pod_to_come_is_no_more_for_a_quota_than_the_one_that_goes() -> None:
    cluster = in_last_step()
    quota = "pods is forbidden: exceeded quota: gpus, requested: nvidia.com/gpu=1, used: nvidia.com/gpu=2"
    cluster.refuses["create", "Pod"] = Forbidden(f"{quota}, limited: nvidia.com/gpu=2")
    cluster.wait(60)
    cluster.settle()
    assert label(cluster) == label(cluster, CANDIDATE)


def test_a_candidate_that_does_not_answer_stands_in_for_nobody() -> None:
    cluster = taking_over()
    cluster.serve_candidate(ready=0)
    cluster.settle()
    assert replacement(cluster) == WITH_ANOTHER


def fail_to_start(cluster: SimulatedCluster) -> None:
    replace_the_pod(cluster, NO_IMAGE)
    cluster.settle()
    cluster.wait(600)


def fail_to_become_ready(cluster: SimulatedCluster) -> None:
    replace_the_pod(cluster)
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    cluster.objects[NAME]["status"]["conditions"] = [late]


@pytest.mark.parametrize("fail", [fail_to_start, fail_to_become_ready])
@pytest.mark.parametrize("deaths", [None, 1, 2, 3, 4])
def test_on_the_way_back_the_candidate_answers_until_the_server_before_does(fail: Any, deaths: int | None) -> None:
    cluster = taking_over()
    candidate = label(cluster, CANDIDATE)
    fail(cluster)
    for _ in range(8):
        cluster.reconcile(dies_after=deaths)
        cluster.reconcile()
        assert cluster.selected() == [candidate]
        assert replacement(cluster) == ONE_BY_ONE
    assert serving(cluster).failed_rollout is not None
    stable = label(cluster)
    assert stable != candidate
    replace_the_pod(cluster)
    cluster.settle()
    assert (cluster.selected(), cluster.truth(AVAILABLE)) == ([candidate], "True")
    cluster.serve()
    cluster.settle()
    assert cluster.selected() == [stable]
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()
    assert (cluster.truth(STALLED), replacement(cluster), serving(cluster).train) == ("True", WITH_ANOTHER, FIRST)
    assert cluster.decisions() == ()


@pytest.mark.parametrize(
    "change",
    [{"training": {"seed": 8}}, {"serving": {"runtime": "Transformers"}}, {"suspend": True}],
    ids=["another student", "rolling", "suspended"],
)
def test_what_changes_meanwhile_takes_the_candidate_away_once_the_server_answers(change: Raw) -> None:
    cluster = taking_over()
    candidate = label(cluster)
    replace_the_pod(cluster)
    cluster.change(**change)
    cluster.settle()
    assert (cluster.selected(), label(cluster), replacement(cluster)) == ([candidate], candidate, ONE_BY_ONE)
    cluster.serve()
    cluster.settle()
    assert (CANDIDATE in cluster.objects, cluster.selected()) == (False, [candidate])
    assert cluster.truth(AVAILABLE) == "True"


def test_of_several_pods_one_at_a_time_is_replaced() -> None:
    cluster = taking_over(canary_of(replicas=4))
    assert (replacement(cluster), cluster.objects[CANDIDATE]["spec"]["replicas"]) == (ONE_BY_ONE, 4)


# --- a server that is still being replaced when the next student is evaluated


def changed_while_a_student_is_made(**changes: Any) -> SimulatedCluster:
    """The served student's server is being replaced by another one when the next student is evaluated."""
    storage = {"accessModes": ["ReadWriteMany"]}
    cluster = SimulatedCluster(serving=canary_of(), storage=storage)
    cluster.run_stages(*Stage)
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    cluster.annotations["distillery.dev/restart-at"] = "now"
    cluster.settle()
    cluster.roll_out()
    cluster.run_stages(Stage.EVALUATE)
    return cluster


def test_a_candidate_waits_until_the_stable_server_is_settled_and_has_its_canary() -> None:
    cluster = changed_while_a_student_is_made()
    moved = label(cluster)
    assert (CANDIDATE in cluster.objects, serving(cluster).train, canary(cluster)) == (False, FIRST, None)
    assert (cluster.truth(READY), cluster.reason(), cluster.truth(AVAILABLE)) == ("Unknown", "RollingOut", "True")
    cluster.serve()
    truths = set()
    for _ in range(4):
        cluster.reconcile()
        truths.add(cluster.truth(READY))
    assert (label(cluster), truths) == (moved, {"Unknown"})
    assert label(cluster, CANDIDATE) != moved
    cluster.serve_candidate()
    cluster.settle()
    assert (cluster.reason(), cluster.selected()) == ("Verifying", [moved])


@pytest.mark.parametrize("deaths", [None, 1, 2, 3])
def test_a_stable_server_that_cannot_be_replaced_goes_back_first(deaths: int | None) -> None:
    cluster = changed_while_a_student_is_made()
    failing = label(cluster)
    cluster.roll_out(NO_IMAGE)
    cluster.settle()
    cluster.wait(600)
    for _ in range(4):
        cluster.reconcile(dies_after=deaths)
    cluster.settle()
    cluster.wait(600)
    cluster.settle()
    assert label(cluster) != failing
    stable = label(cluster)
    cluster.serve()
    cluster.settle()
    assert CANDIDATE in cluster.objects
    assert (label(cluster), cluster.selected(), serving(cluster).train) == (stable, [stable], FIRST)
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()
    found = canary(cluster)
    assert found is not None
    assert found.step == 1


def test_a_student_that_is_evaluated_during_a_take_over_has_its_canary_after_it() -> None:
    cluster = taking_over()
    second = label(cluster)
    replace_the_pod(cluster)
    cluster.change(training={"seed": 8})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert (label(cluster), label(cluster, CANDIDATE), cluster.selected()) == (second, second, [second])
    cluster.serve()
    cluster.settle()
    third = label(cluster, CANDIDATE)
    assert (label(cluster), third == second, cluster.selected()[:1]) == (second, False, [second])
    cluster.serve_candidate()
    cluster.settle()
    assert (cluster.reason(), set(cluster.selected())) == ("Verifying", {second})


def test_a_first_student_that_never_answered_is_replaced_without_a_canary() -> None:
    cluster = SimulatedCluster(serving=canary_of(), storage={"accessModes": ["ReadWriteMany"]})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE)
    cluster.roll_out(NO_IMAGE)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert (CANDIDATE in cluster.objects, serving(cluster).train) == (False, cluster.plan.stage(Stage.TRAIN).input_hash)


# --- the stable server is deleted


@pytest.mark.parametrize("route", [None, ROUTE], ids=["by Pods", "by weights"])
def test_a_server_that_is_deleted_in_the_foreground_is_made_again_and_the_candidate_answers(route: Raw | None) -> None:
    cluster = in_last_step(canary_of(**({"route": route} if route else {})))
    stable, candidate = label(cluster), label(cluster, CANDIDATE)
    cluster.objects[NAME]["metadata"]["deletionTimestamp"] = "2026-11-25T12:30:00Z"
    cluster.settle()
    cluster.serve(ready=0)
    for _ in range(4):
        cluster.reconcile()
        assert cluster.selected() == [candidate]
    assert cluster.condition(STALLED) is None
    cluster.delete(*NAME)
    cluster.settle()
    assert (label(cluster), label(cluster, CANDIDATE)) == (stable, candidate)
    cluster.serve()
    cluster.settle()
    cluster.wait(60)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), CANDIDATE in cluster.objects, label(cluster)) == ("True", False, candidate)
