"""A canary: the candidate is verified beside the server before it, gets a share of the requests, and takes over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import Canary, ConditionType, DistillationStatus, RequestCounters, ServingStatus
from distillery_operator.core.canary_promotion import is_promoted, promotion_of
from distillery_operator.core.history import runs_in_use
from distillery_operator.core.observation import CanaryCounters
from distillery_operator.errors import Invalid
from simulated_cluster import SimulatedCluster

READY, STALLED, AVAILABLE, SUSPENDED = (
    ConditionType.READY,
    ConditionType.STALLED,
    ConditionType.AVAILABLE,
    ConditionType.SUSPENDED,
)
SHARED = {"accessModes": ["ReadWriteMany"]}
FIRST = "nxevyml5"
PROMOTE = "distillery.dev/promote"
NAME, CANDIDATE = ("Deployment", "conjnli"), ("Deployment", "conjnli-candidate")
SERVICES = (("Service", "conjnli"), ("Service", "conjnli-candidate"))
ROUTE = ("HTTPRoute", "conjnli")
HTTP_ROUTE = {
    "kind": "HTTPRoute",
    "hostnames": ["student.example.com"],
    "parentRefs": [{"name": "public"}],
    "access": "Open",
}
NO_IMAGE = {"reason": "ErrImagePull", "message": "not found"}

Raw = dict[str, Any]


def canary_of(**rollout: Any) -> Raw:
    """`spec.serving` with a canary."""
    return {"runtime": "Transformers", "rollout": {"strategy": "Canary", **rollout}}


def served(serving: Raw | None = None, **changes: Any) -> SimulatedCluster:
    """A student that is served and verified."""
    cluster = SimulatedCluster(serving=serving or canary_of(), **{"storage": SHARED, **changes})
    cluster.run_stages(*Stage)
    assert cluster.truth(READY) == "True"
    return cluster


def with_candidate(serving: Raw | None = None, **changes: Any) -> SimulatedCluster:
    """The server of a new student has just been created beside that of the first one."""
    cluster = served(serving, **changes)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert CANDIDATE in cluster.objects
    return cluster


def verified(serving: Raw | None = None, **changes: Any) -> SimulatedCluster:
    """The candidate is verified, and in its first step."""
    cluster = with_candidate(serving, **changes)
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()
    if cluster.objects[CANDIDATE]["spec"]["replicas"] > 1:
        cluster.serve_candidate()
        cluster.settle()
    return cluster


def serving(cluster: SimulatedCluster) -> ServingStatus:
    assert cluster.status.serving is not None
    return cluster.status.serving


def canary(cluster: SimulatedCluster) -> Canary:
    found = serving(cluster).canary
    assert found is not None
    return found


def message(cluster: SimulatedCluster, kind: ConditionType = READY) -> str:
    found = cluster.condition(kind)
    assert found is not None
    return found.message


def label(cluster: SimulatedCluster, key: tuple[str, str] = NAME) -> str:
    return str(cluster.objects[key]["spec"]["template"]["metadata"]["labels"]["distillery.dev/server"])


def test_a_first_student_is_rolled_out_at_once() -> None:
    cluster = served()
    assert (CANDIDATE in cluster.objects, serving(cluster).canary) == (False, None)


def test_a_candidate_is_verified_through_a_service_of_its_own_and_gets_no_request() -> None:
    cluster = with_candidate()
    stable, candidate = label(cluster), label(cluster, CANDIDATE)
    assert stable != candidate
    cluster.serve_candidate()
    cluster.settle()
    assert cluster.selected() == [stable]
    [run] = [each for (kind, name), each in cluster.objects.items() if kind == "ConfigMap" and "verify" in name][-1:]
    assert '"serverUrl":"http://conjnli-candidate.team-a.svc:8000/v1"' in run["data"]["run.json"].replace(": ", ":")
    assert cluster.objects[SERVICES[1]]["spec"]["selector"] == {
        "app.kubernetes.io/component": "serving",
        "distillery.dev/name": "conjnli",
        "distillery.dev/track": "candidate",
    }
    assert (cluster.truth(READY), cluster.reason(), cluster.truth(AVAILABLE)) == ("Unknown", "Verifying", "True")
    assert (canary(cluster).step, canary(cluster).percent, canary(cluster).share) == (0, 0, 0)
    assert serving(cluster).train == FIRST


def test_a_verified_candidate_gets_its_share_and_takes_over_after_its_time() -> None:
    cluster = verified()
    stable, candidate, train = label(cluster), label(cluster, CANDIDATE), cluster.plan.stage(Stage.TRAIN).folder
    assert cluster.selected() == [stable, candidate]
    assert (cluster.truth(READY), cluster.reason(), cluster.truth(AVAILABLE)) == ("Unknown", "RollingOut", "True")
    due = "2026-11-25 12:10:00 UTC"
    assert message(cluster) == f"canary: step 1 of 1: {train}/model answers 50 % of the requests until {due}, then all"
    assert (canary(cluster).step, canary(cluster).percent, canary(cluster).share) == (1, 10, 50)
    requeue = cluster.requeue_after()
    assert requeue is not None
    assert requeue.total_seconds() == 600

    cluster.wait(600)
    cluster.settle()
    assert label(cluster) == candidate
    assert CANDIDATE in cluster.objects  # until the server's own Pods answer
    cluster.roll_out()
    cluster.settle()
    assert (CANDIDATE in cluster.objects, canary(cluster).percent) == (True, 100)
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), CANDIDATE in cluster.objects, SERVICES[1] in cluster.objects) == (
        "True",
        False,
        False,
    )
    assert (serving(cluster).canary, serving(cluster).train) == (None, cluster.plan.stage(Stage.TRAIN).input_hash)
    verifications = [name for name in cluster.created if "verify" in name]
    assert len(verifications) == 2  # one for each student


@pytest.mark.parametrize(
    ("replicas", "percent", "pods"),
    [(1, 10, 1), (1, 60, 2), (3, 10, 1), (9, 10, 1), (9, 50, 9), (20, 10, 2), (2, 90, 18)],
)
def test_the_candidate_has_as_many_pods_as_its_share_asks_for(replicas: int, percent: int, pods: int) -> None:
    cluster = verified(canary_of(canaryPercent=percent) | {"replicas": replicas})
    assert cluster.objects[CANDIDATE]["spec"]["replicas"] == pods
    assert canary(cluster).share == round(100 * pods / (pods + replicas))
    assert cluster.objects[NAME]["spec"]["replicas"] == replicas


@pytest.mark.parametrize(("replicas", "percent", "pods"), [(1, 99, 1), (9, 10, 1), (9, 30, 4), (9, 50, 9), (9, 99, 9)])
def test_by_weights_the_candidate_has_no_more_pods_than_the_server(replicas: int, percent: int, pods: int) -> None:
    cluster = verified(routed(canaryPercent=percent) | {"replicas": replicas})
    assert cluster.objects[CANDIDATE]["spec"]["replicas"] == pods
    assert canary(cluster).share == percent
    cluster.serve(ready=0)
    cluster.settle()
    assert cluster.objects[CANDIDATE]["spec"]["replicas"] == pods


def test_a_scale_changes_both_counts() -> None:
    cluster = verified(canary_of(canaryPercent=50) | {"replicas": 2})
    cluster.change(serving=canary_of(canaryPercent=50) | {"replicas": 4})
    cluster.settle()
    assert [cluster.objects[each]["spec"]["replicas"] for each in (NAME, CANDIDATE)] == [4, 4]
    assert (canary(cluster).step, cluster.condition(STALLED)) == (1, None)


STEPS = [{"percent": 10, "duration": "10m"}, {"percent": 30}, {"percent": 50}]


def test_a_step_without_a_duration_waits_for_a_person() -> None:
    cluster = verified(canary_of(steps=STEPS))
    assert message(cluster).endswith(", then 30 %, 50 %, all")
    cluster.wait(600)
    cluster.settle()
    run = cluster.plan.stage(Stage.TRAIN).input_hash
    assert (cluster.truth(READY), cluster.reason(), cluster.truth(SUSPENDED)) == ("False", "AwaitingPromotion", "True")
    assert (cluster.truth(AVAILABLE), cluster.status.progress) == ("True", "awaiting promotion")
    command = f"kubectl -n team-a annotate distill conjnli {PROMOTE}={run}.2 --overwrite"
    assert message(cluster) == (
        f"canary: step 2 of 3 waits to be promoted: {command};"
        f" train-{run}/model answers 50 % of the requests until then"
    )
    cluster.wait(100_000)
    cluster.settle()
    assert canary(cluster).step == 2
    cluster.annotations[PROMOTE] = f"{run}.2"
    cluster.settle()
    assert canary(cluster).step == 3
    assert f"{PROMOTE}={run}.3 --overwrite" in message(cluster)
    cluster.annotations[PROMOTE] = f"{run}.3"
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(SUSPENDED)) == ("True", None)


TOO_LONG = pytest.param("{run}." + 5000 * "0", id="too long")


@pytest.mark.parametrize("value", ["", FIRST, "{run}.1", "{run}.3", "{run}.x", "{run}x", "train-{run}", TOO_LONG])
def test_another_promotion_promotes_nothing(value: str) -> None:
    cluster = verified(canary_of(steps=STEPS))
    cluster.annotations[PROMOTE] = value.format(run=cluster.plan.stage(Stage.TRAIN).input_hash)
    cluster.wait(600)
    cluster.settle()
    assert canary(cluster).step == 2


def test_the_name_of_a_run_promotes_all_its_steps() -> None:
    cluster = verified(canary_of(steps=STEPS))
    cluster.annotations[PROMOTE] = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.wait(600)
    cluster.settle()
    assert canary(cluster).percent == 100


def paused(cluster: SimulatedCluster) -> tuple[int, str]:
    """The step that waits, and the value that promotes it."""
    assert cluster.reason() == "AwaitingPromotion"
    return canary(cluster).step, message(cluster).partition(f"{PROMOTE}=")[2].partition(" ")[0]


def retry_after_failure(cluster: SimulatedCluster) -> None:
    stop_answering_for_long(cluster)
    cluster.wait(1)
    cluster.request_retry()


def suspend_and_resume(cluster: SimulatedCluster) -> None:
    cluster.change(suspend=True)
    cluster.settle()
    cluster.change(suspend=False)


def change_the_steps(cluster: SimulatedCluster) -> None:
    cluster.change(serving=canary_of(steps=[{"percent": 20}, {"percent": 40}]))


@pytest.mark.parametrize("begin_anew", [retry_after_failure, suspend_and_resume, change_the_steps])
@pytest.mark.parametrize("left_over", ["{run}", "{run}.1"])
def test_a_promotion_of_an_earlier_canary_promotes_nothing_of_this_one(left_over: str, begin_anew: Any) -> None:
    cluster = verified(canary_of(steps=[{"percent": 10}, {"percent": 30}]))
    run = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.annotations[PROMOTE] = left_over.format(run=run)
    cluster.reconcile()
    cluster.reconcile()
    assert canary(cluster).step == 2
    begin_anew(cluster)
    cluster.settle()
    cluster.serve_candidate()
    cluster.settle()
    step, value = paused(cluster)
    assert (step, value) == (1, f"{run}.1.2" if left_over == "{run}.1" else f"{run}.1")
    for following in (1, 2):
        assert paused(cluster)[0] == following
        cluster.annotations[PROMOTE] = paused(cluster)[1]
        cluster.settle()
    assert canary(cluster).percent == 100


def test_a_promotion_that_is_removed_and_set_again_counts() -> None:
    cluster = verified(canary_of(steps=[{"percent": 10}]))
    run = cluster.plan.stage(Stage.TRAIN).input_hash
    suspend_and_resume(cluster)
    cluster.annotations[PROMOTE] = f"{run}.1"
    cluster.settle()
    cluster.serve_candidate()
    cluster.settle()
    assert paused(cluster) == (1, f"{run}.1.2")
    del cluster.annotations[PROMOTE]
    cluster.settle()
    assert paused(cluster) == (1, f"{run}.1")
    cluster.annotations[PROMOTE] = f"{run}.1"
    cluster.settle()
    assert canary(cluster).percent == 100


@pytest.mark.parametrize(
    ("left_over", "value"),
    [
        *((None, "a.1"), ("", "a.1"), ("a", "a.1"), ("a.12", "a.1"), ("b.1", "a.1")),
        *(("a.1", "a.1.2"), ("a.1.2", "a.1.3"), ("a.1.x", "a.1.2"), ("a.1.²", "a.1.2")),
    ],
)
def test_the_value_that_promotes_is_never_the_one_that_is_left_over(left_over: str | None, value: str) -> None:
    assert promotion_of(left_over, "a", 1) == value
    assert is_promoted(value, left_over, "a", 1)
    assert not is_promoted(left_over, left_over, "a", 1)


def fail_to_start(cluster: SimulatedCluster) -> None:
    cluster.roll_out(NO_IMAGE, name=CANDIDATE[1])
    cluster.settle()
    cluster.wait(600)


def fail_to_become_ready(cluster: SimulatedCluster) -> None:
    cluster.roll_out(name=CANDIDATE[1])
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    cluster.objects[CANDIDATE]["status"]["conditions"] = [late]


def answer_otherwise(cluster: SimulatedCluster) -> None:
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")


def stop_answering(cluster: SimulatedCluster) -> None:
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()
    cluster.serve_candidate(ready=0)
    cluster.settle()
    cluster.wait(600)


def stop_answering_for_long(cluster: SimulatedCluster) -> None:
    cluster.serve_candidate(ready=0)
    cluster.settle()
    cluster.wait(600)
    cluster.settle()
    assert cluster.truth(STALLED) == "True"


FAILURES: list[tuple[Callable[[SimulatedCluster], None], str, str]] = [
    (fail_to_start, "ImagePullError", "the image distillery-trainer:1 cannot be pulled: not found"),
    (fail_to_become_ready, "RolloutFailed", "the server did not become ready before the rollout deadline"),
    (answer_otherwise, "VerificationFailed", "3 of 16 rows were answered otherwise"),
    (stop_answering, "RolloutFailed", "no Pod of the candidate is ready"),
]


@pytest.mark.parametrize(("fail", "reason", "why"), FAILURES, ids=[fail.__name__ for fail, _, _ in FAILURES])
def test_a_failed_candidate_is_removed_and_the_server_before_it_is_not_touched(
    fail: Callable[[SimulatedCluster], None], reason: str, why: str
) -> None:
    cluster = with_candidate()
    before = copy.deepcopy(cluster.objects[NAME]["spec"])
    fail(cluster)
    cluster.settle()
    assert (cluster.truth(READY), cluster.reason(STALLED), cluster.truth(AVAILABLE)) == ("False", reason, "True")
    run = cluster.plan.stage(Stage.TRAIN).folder
    assert message(cluster) == f"serving {run}: {why}; train-{FIRST}/model serves on"
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()
    assert cluster.objects[NAME]["spec"] == before
    assert "distillery.dev/server" not in cluster.objects[SERVICES[0]]["spec"]["selector"]
    cluster.wait(100_000)
    cluster.settle()
    assert CANDIDATE not in cluster.objects  # not tried again by itself
    cluster.request_retry()
    cluster.settle()
    assert CANDIDATE in cluster.objects


def test_a_retry_gives_a_silent_candidate_its_whole_time_again() -> None:
    cluster = verified()
    cluster.serve_candidate(ready=0)
    cluster.settle()
    cluster.wait(4000)  # nothing was looked at meanwhile
    cluster.request_retry()
    cluster.settle()
    assert (CANDIDATE in cluster.objects, cluster.truth(STALLED)) == (True, None)
    cluster.wait(600)
    cluster.settle()
    assert (CANDIDATE in cluster.objects, cluster.reason(STALLED)) == (False, "RolloutFailed")


def test_a_failed_candidate_gets_no_more_requests_while_it_stops() -> None:
    cluster = with_candidate()
    stop_answering(cluster)
    cluster.reconcile()
    cluster.serve_candidate()
    cluster.objects[CANDIDATE]["metadata"]["deletionTimestamp"] = "2026-11-25T12:30:00Z"
    cluster.reconcile()
    assert cluster.selected() == [label(cluster)]


ENDS = {
    "rolling": {"serving": {"runtime": "Transformers"}},
    "no server": {"serving": {"mode": "None"}},
    "scaled to zero": {"serving": canary_of() | {"replicas": 0}},
    "suspended": {"suspend": True},
    "another student": {"training": {"seed": 8}},
    "other rows": {"generation": {"teachers": [{"name": "big", "endpoint": "https://t.example/v1", "model": "x"}]}},
    "the first run": {"serving": canary_of() | {"pinnedRun": FIRST}},
    "a gate that nobody meets": {"evaluation": {"gate": {"minScore": 1}}},
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("begin", [with_candidate, verified], ids=["starting", "first step"])
def test_what_ends_a_canary_leaves_nothing_of_it(begin: Callable[[], SimulatedCluster], change: Raw) -> None:
    cluster = begin()
    cluster.change(**change)
    cluster.settle()
    if NAME in cluster.objects:
        cluster.serve()
        cluster.settle()
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()
    assert serving(cluster).canary is None if cluster.status.serving else True
    if SERVICES[0] in cluster.objects:
        assert "distillery.dev/server" not in cluster.objects[SERVICES[0]]["spec"]["selector"]


def test_a_suspended_canary_begins_anew_and_is_not_verified_again() -> None:
    cluster = verified()
    cluster.change(suspend=True)
    cluster.settle()
    assert label(cluster) == cluster.selected()[0]
    cluster.change(suspend=False)
    cluster.settle()
    cluster.serve_candidate()
    cluster.settle()
    assert (canary(cluster).step, len([name for name in cluster.created if "verify" in name])) == (1, 2)


def test_changed_steps_begin_anew_without_another_verification() -> None:
    cluster = verified(canary_of(steps=STEPS))
    cluster.wait(600)
    cluster.settle()
    cluster.change(serving=canary_of(steps=[{"percent": 5}, {"percent": 20}]))
    cluster.settle()
    assert (canary(cluster).step, canary(cluster).percent) == (1, 5)
    cluster.change(serving=canary_of(steps=[{"percent": 5}, {"percent": 40}]))
    cluster.settle()
    assert (canary(cluster).step, canary(cluster).since) == (1, cluster.now)


def test_another_image_is_a_candidate_of_the_same_student() -> None:
    cluster = served()
    cluster.change(serving=canary_of(steps=[{"percent": 50}]) | {"image": "mine:2"})
    cluster.settle()
    assert cluster.objects[CANDIDATE]["spec"]["template"]["spec"]["containers"][0]["image"] == "mine:2"
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.annotations[PROMOTE] = FIRST  # promoted before, and no name of this server
    cluster.settle()
    assert cluster.reason() == "AwaitingPromotion"
    cluster.annotations[PROMOTE] = canary(cluster).server
    cluster.settle()
    assert cluster.objects[NAME]["spec"]["template"]["spec"]["containers"][0]["image"] == "mine:2"


def test_another_image_in_mid_canary_is_verified_before_it_gets_requests() -> None:
    cluster = verified()
    stable = label(cluster)
    cluster.change(serving=canary_of() | {"image": "mine:2"})
    cluster.settle()
    assert (canary(cluster).step, cluster.selected()) == (0, [stable])
    cluster.serve_candidate()
    cluster.settle()
    assert (cluster.reason(), cluster.selected()) == ("Verifying", [stable])


@pytest.mark.parametrize("begin", [with_candidate, verified], ids=["starting", "first step"])
def test_a_lost_status_lets_no_candidate_take_over(begin: Callable[[], SimulatedCluster]) -> None:
    cluster = begin()
    stable = label(cluster)
    cluster.status = DistillationStatus()
    cluster.reconcile()
    assert (canary(cluster).step, label(cluster), cluster.selected()) == (0, stable, [stable])
    cluster.settle()
    cluster.serve_candidate()
    cluster.settle()
    if cluster.live_jobs():
        assert (cluster.reason(), cluster.selected()) == ("Verifying", [stable])
        cluster.start()
        cluster.finish()
        cluster.settle()
    assert (canary(cluster).step, label(cluster), len(cluster.selected())) == (1, stable, 2)
    assert serving(cluster).server == stable
    assert len([name for name in cluster.created if "verify" in name]) == 2


@pytest.mark.parametrize(("begin", "step"), [(with_candidate, 0), (verified, 1)], ids=["starting", "first step"])
def test_a_server_that_is_deleted_by_hand_is_made_again(begin: Callable[[], SimulatedCluster], step: int) -> None:
    cluster = begin()
    stable, candidate = label(cluster), label(cluster, CANDIDATE)
    cluster.delete(*NAME)
    cluster.settle()
    assert (label(cluster), label(cluster, CANDIDATE), canary(cluster).step) == (stable, candidate, step)
    cluster.serve()
    cluster.settle()
    assert (cluster.selected()[-1], len(cluster.selected())) == (stable, step + 1)
    assert (serving(cluster).train, canary(cluster).step) == (FIRST, step)


def test_a_server_that_is_deleted_by_hand_after_an_upgrade_is_made_again_as_the_new_release_makes_it() -> None:
    cluster = with_candidate()
    candidate = label(cluster, CANDIDATE)
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.delete(*NAME)
    cluster.settle()
    [container] = cluster.objects[NAME]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "distillery-trainer:2"
    assert (label(cluster, CANDIDATE), cluster.selected()) == (candidate, [])
    assert (canary(cluster).step, serving(cluster).train) == (0, FIRST)


def test_a_new_release_changes_no_candidate() -> None:
    cluster = verified()
    before = copy.deepcopy(cluster.objects[CANDIDATE])
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.settle()
    assert (cluster.objects[CANDIDATE], canary(cluster).step) == (before, 1)


def test_a_restart_is_no_canary() -> None:
    cluster = served()
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.annotations["distillery.dev/restart-at"] = "now"
    cluster.settle()
    assert CANDIDATE not in cluster.objects


def test_a_claim_that_only_one_node_can_mount_makes_it_a_recreate_and_says_so() -> None:
    cluster = served()
    claim = cluster.objects["PersistentVolumeClaim", cluster.plan.claim_name]
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert CANDIDATE not in cluster.objects
    assert cluster.objects[NAME]["spec"]["strategy"] == {"type": "Recreate"}
    assert message(cluster).endswith(f"can mount the claim {cluster.plan.claim_name}: the server before stops first")


IMAGE = {"modelImage": {"repository": "registry.example/student"}}


@pytest.mark.parametrize("before", [{}, IMAGE], ids=["from the workspace", "from an image"])
def test_from_an_image_there_is_a_canary_on_a_volume_of_one_node(before: Raw) -> None:
    cluster = SimulatedCluster(serving={"runtime": "Transformers", **before})
    cluster.run_stages(*Stage)
    stable = label(cluster)
    cluster.change(serving={**canary_of(), **IMAGE}, training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH)
    assert label(cluster) == stable
    [volume] = [v for v in cluster.objects[CANDIDATE]["spec"]["template"]["spec"]["volumes"] if v["name"] == "model"]
    assert volume["image"]["reference"].startswith("registry.example/student@")
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert (canary(cluster).step, len(cluster.selected())) == (1, 2)
    cluster.wait(600)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), CANDIDATE in cluster.objects) == ("True", False)


def test_a_student_that_goes_back_to_the_workspace_of_one_node_has_no_canary() -> None:
    cluster = SimulatedCluster(serving={**canary_of(), **IMAGE}, storage={"claimName": "data"})
    cluster.objects["PersistentVolumeClaim", "data"] = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": cluster.plan.namespace, "uid": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound"},
    }
    cluster.run_stages(*Stage)
    cluster.change(serving=canary_of())
    cluster.settle()
    assert CANDIDATE not in cluster.objects
    assert cluster.objects[NAME]["spec"]["strategy"] == {"type": "Recreate"}
    assert message(cluster).endswith("only one node can mount the claim data: the server before stops first")


def test_a_name_that_belongs_to_somebody_else_is_found_before_the_first_stage() -> None:
    cluster = SimulatedCluster(serving=canary_of(), storage=SHARED)
    theirs = {"kind": "Service", "metadata": {"name": "conjnli-candidate", "labels": {}}, "spec": {}}
    cluster.objects[SERVICES[1]] = theirs
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.created) == ("NameConflict", [])
    assert message(cluster).startswith("generate: the Service conjnli-candidate already exists")


def test_the_server_of_a_distillation_with_the_candidates_name_is_foreign() -> None:
    cluster = SimulatedCluster(serving=canary_of(), storage=SHARED)
    owner = {"kind": "Distillation", "name": "conjnli-candidate", "uid": "another"}
    labels = {"distillery.dev/name": "conjnli-candidate"}
    metadata = {"name": "conjnli-candidate", "labels": labels, "ownerReferences": [owner]}
    cluster.objects[CANDIDATE] = {"kind": "Deployment", "metadata": metadata, "spec": {"template": {}}}
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.created) == ("NameConflict", [])


def test_both_models_are_in_use() -> None:
    cluster = verified(storage={**SHARED, "history": 1})
    assert runs_in_use(cluster.assessment().situation) == {FIRST, canary(cluster).train}
    assert cluster.status.prunable_folders == ()


def test_autoscalers_count_the_stable_pods_alone() -> None:
    cluster = verified()
    assert serving(cluster).selector == (
        "app.kubernetes.io/component=serving,distillery.dev/name=conjnli,!distillery.dev/track"
    )


def routed(**rollout: Any) -> Raw:
    """`spec.serving` with a canary and an HTTPRoute."""
    return {**canary_of(**rollout), "route": HTTP_ROUTE}


def backends(cluster: SimulatedCluster) -> list[tuple[str, int | None]]:
    """Where the route leads requests, each with its weight."""
    [rule] = cluster.objects[ROUTE]["spec"]["rules"]
    return [(each["name"], each.get("weight")) for each in rule["backendRefs"]]


def test_the_weights_of_a_route_are_those_of_the_step() -> None:
    assert backends(verified(routed(canaryPercent=30))) == [("conjnli", 70), ("conjnli-candidate", 30)]
    assert backends(with_candidate(routed())) == [("conjnli", None)]
    assert backends(served(routed())) == [("conjnli", None)]


def test_by_weights_the_service_leads_to_the_stable_server_until_the_candidate_takes_over() -> None:
    cluster = served(routed(steps=[{"percent": 10, "duration": "10m"}, {"percent": 30, "duration": "10m"}]))
    before = copy.deepcopy(cluster.objects[ROUTE])
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    cluster.serve_candidate()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.reconcile()
    cluster.reconcile()
    assert (canary(cluster).step, canary(cluster).since, canary(cluster).share) == (1, None, 0)
    assert backends(cluster) == [("conjnli", 90), ("conjnli-candidate", 10)]
    cluster.settle()
    stable, train = label(cluster), cluster.plan.stage(Stage.TRAIN).folder
    assert (canary(cluster).since, canary(cluster).share, cluster.selected()) == (cluster.now, 10, [stable])
    due = "2026-11-25 12:10:00 UTC"
    assert message(cluster) == (
        f"canary: step 1 of 2: {train}/model answers 10 % of the requests until {due}, then 30 %, all"
    )
    assert cluster.decisions() == ()
    assert message(cluster, AVAILABLE).startswith(f"a server of train-{FIRST}/model and {train}/model")
    cluster.wait(600)
    cluster.settle()
    assert backends(cluster) == [("conjnli", 70), ("conjnli-candidate", 30)]
    assert (canary(cluster).step, canary(cluster).since, canary(cluster).share) == (2, cluster.now, 30)
    cluster.wait(600)
    cluster.settle()
    spec_before, seen = before["spec"], cluster.objects[ROUTE]
    assert (seen["spec"], seen["metadata"]["annotations"]) == (spec_before, before["metadata"]["annotations"])
    assert CANDIDATE in cluster.objects
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), CANDIDATE in cluster.objects) == ("True", False)


@pytest.mark.parametrize(("ready", "percent"), [(1, 10), (5, 36), (8, 47), (9, 50)])
def test_the_candidate_gets_no_more_than_its_pods_can_answer(ready: int, percent: int) -> None:
    steps = [{"percent": 10, "duration": "10m"}, {"percent": 50}]
    cluster = verified(routed(steps=steps) | {"replicas": 9})
    cluster.wait(600)
    cluster.settle()
    assert cluster.objects[CANDIDATE]["spec"]["replicas"] == 9
    cluster.serve_candidate(ready)
    cluster.settle()
    assert backends(cluster) == [("conjnli", 100 - percent), ("conjnli-candidate", percent)]
    assert canary(cluster).share == percent


def test_a_candidate_that_stops_answering_has_no_weight_until_it_answers_again() -> None:
    cluster = verified(routed())
    since = canary(cluster).since
    cluster.serve_candidate(ready=0)
    cluster.settle()
    assert (backends(cluster), canary(cluster).share) == ([("conjnli", None)], 0)
    assert cluster.selected() == [label(cluster)]
    cluster.serve_candidate()
    cluster.wait(60)
    cluster.settle()
    assert backends(cluster) == [("conjnli", 90), ("conjnli-candidate", 10)]
    assert (canary(cluster).step, canary(cluster).since) == (1, since)


def test_where_the_stable_server_does_not_answer_the_candidate_answers_all_requests() -> None:
    cluster = verified(routed())
    cluster.serve(ready=0)
    cluster.settle()
    assert (backends(cluster), cluster.selected()) == ([("conjnli", None)], [label(cluster, CANDIDATE)])
    cluster.serve()
    cluster.settle()
    assert (canary(cluster).share, cluster.selected()) == (10, [label(cluster)])


def test_a_candidate_goes_once_the_route_does_not_lead_to_it() -> None:
    cluster = verified(routed(analysis={}))
    cluster.counters = counted((1000, 3, 100.0), (20, 1, 2.0))
    cluster.settle()
    cluster.counters = counted((2000, 3, 200.0), (120, 99, 2.0))
    cluster.refuses["patch", "HTTPRoute"] = Invalid("not now")
    cluster.settle()
    assert cluster.reason(STALLED) == "CanaryFailed"
    assert backends(cluster) == [("conjnli", 90), ("conjnli-candidate", 10)]
    assert {CANDIDATE, SERVICES[1]} <= cluster.objects.keys()
    cluster.refuses.clear()
    cluster.reconcile()
    assert backends(cluster) == [("conjnli", None)]
    assert {CANDIDATE, SERVICES[1]} <= cluster.objects.keys()
    cluster.settle()
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()


INGRESS = {"kind": "Ingress", "hostnames": ["student.example.com"], "access": "Open"}


@pytest.mark.parametrize("route", [None, INGRESS], ids=["none", "Ingress"])
def test_without_an_http_route_the_share_is_that_of_the_pods(route: Raw | None) -> None:
    cluster = verified(routed())
    stable, candidate, since = label(cluster), label(cluster, CANDIDATE), canary(cluster).since
    cluster.change(serving={**canary_of(), "route": route})
    cluster.settle()
    assert (cluster.selected(), canary(cluster).share) == ([stable, candidate], 50)
    assert (canary(cluster).step, canary(cluster).since, ROUTE in cluster.objects) == (1, since, False)
    cluster.change(serving=routed())
    cluster.settle()
    assert (cluster.selected(), canary(cluster).share) == ([stable], 10)


def test_a_route_of_somebody_else_has_no_weights() -> None:
    cluster = verified(canary_of())
    theirs = {"kind": "HTTPRoute", "metadata": {"name": "conjnli", "namespace": "team-a"}, "spec": {"hostnames": ["a"]}}
    cluster.objects[ROUTE] = copy.deepcopy(theirs)
    cluster.change(serving=routed())
    cluster.settle()
    assert (cluster.objects[ROUTE], canary(cluster).share, len(cluster.selected())) == (theirs, 50, 2)


def test_weights_that_somebody_changes_are_repaired() -> None:
    cluster = verified(routed())
    cluster.objects[ROUTE]["spec"]["rules"][0]["backendRefs"][1]["weight"] = 90
    cluster.settle()
    assert backends(cluster) == [("conjnli", 90), ("conjnli-candidate", 10)]
    del cluster.objects[ROUTE]
    cluster.settle()
    assert backends(cluster) == [("conjnli", 90), ("conjnli-candidate", 10)]
    assert cluster.selected() == [label(cluster)]


def test_another_image_in_mid_canary_gets_no_request_through_the_route_before_it_is_verified() -> None:
    cluster = verified(routed())
    before = label(cluster, CANDIDATE)
    cluster.change(serving=routed() | {"image": "mine:2"})
    cluster.reconcile()
    assert (backends(cluster), label(cluster, CANDIDATE)) == ([("conjnli", None)], before)
    cluster.settle()
    assert label(cluster, CANDIDATE) != before
    cluster.serve_candidate()
    cluster.settle()
    assert (cluster.reason(), backends(cluster)) == ("Verifying", [("conjnli", None)])


ROUTED_ENDS = {
    name: {"serving": {**change["serving"], "route": HTTP_ROUTE}} if "serving" in change else change
    for name, change in ENDS.items()
    if name != "no server"
}


@pytest.mark.parametrize("change", ROUTED_ENDS.values(), ids=ROUTED_ENDS)
def test_what_ends_a_canary_takes_the_weights_away(change: Raw) -> None:
    cluster = verified(routed())
    cluster.change(**change)
    for _ in range(20):
        cluster.reconcile()
        assert ("conjnli-candidate" not in dict(backends(cluster))) or SERVICES[1] in cluster.objects
        assert cluster.selected() or cluster.spec["serving"].get("replicas") == 0
        cluster.serve()
    assert backends(cluster) == [("conjnli", None)]
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()
    assert "distillery.dev/server" not in cluster.objects[SERVICES[0]]["spec"]["selector"]


def weight_of_verified_candidate(cluster: SimulatedCluster) -> int:
    weight = dict(backends(cluster)).get("conjnli-candidate") or 0
    if weight:
        known = {run.verification.server for run in cluster.status.history if run.verification}
        assert cluster.objects[CANDIDATE]["metadata"]["annotations"]["distillery.dev/digest"] in known
        assert SERVICES[1] in cluster.objects
    return weight


@pytest.mark.parametrize(
    "end", [{}, {"serving": {"runtime": "Transformers", "route": HTTP_ROUTE}}], ids=["", "rolling"]
)
@pytest.mark.parametrize("deaths", range(1, 7))
def test_by_weights_every_request_has_a_verified_server_wherever_the_operator_dies(deaths: int, end: Raw) -> None:
    cluster = served(routed(steps=[{"percent": 50, "duration": "1m"}]))
    cluster.change(training={"seed": 7})
    weights: list[int] = []
    for _ in range(60):
        for dies_after in (deaths, None):
            cluster.reconcile(dies_after=dies_after)
            for key in {NAME, CANDIDATE} & cluster.objects.keys():
                cluster.serve(name=key[1])
            weights += [weight_of_verified_candidate(cluster)]
            assert cluster.selected()
        if end and weights[-1]:
            cluster.change(**end)
        cluster.collect()
        if cluster.live_jobs():
            cluster.start()
            cluster.finish()
        cluster.wait(30)
        if any(weights) and cluster.truth(READY) == "True" and CANDIDATE not in cluster.objects:
            break
    cluster.settle()
    assert set(weights) == {0, 50}
    assert (cluster.truth(READY), cluster.selected(), backends(cluster)) == (
        "True",
        [label(cluster)],
        [("conjnli", None)],
    )
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()


@pytest.mark.parametrize("deaths", range(1, 6))
def test_an_operator_that_dies_after_any_write_ends_with_the_same(deaths: int) -> None:
    cluster = served(canary_of(steps=[{"percent": 50, "duration": "1m"}]))
    cluster.change(training={"seed": 7})
    selected: list[str] = []
    for _ in range(60):
        cluster.reconcile(dies_after=deaths)
        cluster.reconcile()
        cluster.collect()
        if cluster.live_jobs():
            cluster.start()
            cluster.finish()
        for _, name in (NAME, CANDIDATE):
            if ("Deployment", name) in cluster.objects:
                cluster.serve(name=name)
        verified_servers = {run.verification.server for run in cluster.status.history if run.verification}
        selected += [each for each in cluster.selected() if each not in verified_servers]
        cluster.wait(30)
    assert (cluster.truth(READY), cluster.selected(), selected) == ("True", [label(cluster)], [])
    assert cluster.status.history[0].train == serving(cluster).train
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()


def counted(stable: tuple[int, int, float], candidate: tuple[int, int, float]) -> CanaryCounters:
    """Requests, errors and seconds of both servers' Pods."""
    pairs = (
        RequestCounters(requests=requests, errors=errors, timed=requests - errors, seconds=seconds)
        for requests, errors, seconds in (stable, candidate)
    )
    return CanaryCounters(*pairs)


def analysed(**bounds: Any) -> SimulatedCluster:
    """A candidate in its only step, which is to be judged; its Pods have been read once."""
    cluster = verified(canary_of(analysis=bounds))
    cluster.counters = counted((1000, 3, 100.0), (20, 1, 2.0))
    cluster.settle()
    assert canary(cluster).candidate_start == RequestCounters(requests=20, errors=1, timed=19, seconds=2.0)
    return cluster


def test_a_candidate_that_answers_as_well_takes_over() -> None:
    cluster = analysed()
    cluster.counters = counted((2000, 5, 200.0), (120, 2, 21.0))  # 1 of 100 fails, and 0.19 s instead of 0.1 s
    cluster.wait(599)
    cluster.settle()
    assert canary(cluster).step == 1
    cluster.wait(1)
    cluster.settle()
    assert (canary(cluster).percent, canary(cluster).candidate_start) == (100, None)


WORSE = {
    "errors": (
        (120, 3, 2.0),
        "2 of 100 requests to the candidate ended with HTTP 5xx, a ratio of 0.02; maxErrorRatio is 0.01",
    ),
    "latency": (
        (120, 1, 32.0),
        "the candidate takes 0.3 s for a request on average and the server before it 0.1 s, a ratio of 3;"
        " maxLatencyRatio is 2",
    ),
}


@pytest.mark.parametrize(("candidate", "why"), WORSE.values(), ids=WORSE)
def test_a_worse_candidate_is_removed_before_its_time(candidate: tuple[int, int, float], why: str) -> None:
    cluster = analysed()
    cluster.counters = counted((2000, 3, 200.0), candidate)
    cluster.settle()
    run = cluster.plan.stage(Stage.TRAIN).folder
    assert message(cluster) == f"serving {run}: {why}; train-{FIRST}/model serves on"
    assert (cluster.reason(STALLED), cluster.truth(AVAILABLE)) == ("CanaryFailed", "True")
    assert not {CANDIDATE, SERVICES[1]} & cluster.objects.keys()


def test_a_step_with_too_few_requests_goes_on_until_there_are_enough_or_a_person_promotes_it() -> None:
    cluster = analysed(minRequests=50)
    cluster.counters = counted((1030, 3, 103.0), (40, 21, 2.0))  # every one failed, but they are few
    cluster.wait(600)
    cluster.settle()
    assert message(cluster).endswith("too little is known of it: 20 of 50 requests (minRequests) so far")
    assert (canary(cluster).step, cluster.truth(ConditionType.RECONCILING)) == (1, "True")
    cluster.annotations[PROMOTE] = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.settle()
    assert canary(cluster).percent == 100


def test_pods_whose_metrics_cannot_be_read_are_waited_for_and_named() -> None:
    cluster = verified(canary_of(analysis={}))
    cluster.wait(600)
    cluster.settle()
    assert canary(cluster).step == 1
    assert "/metrics have not been read; a network policy may keep the operator from them" in message(cluster)


def test_counters_that_begin_anew_are_no_verdict() -> None:
    cluster = analysed()
    cluster.counters = counted((5, 0, 0.5), (200, 100, 900.0))  # the operator and a Pod were replaced
    cluster.wait(600)
    cluster.settle()
    assert message(cluster).endswith("too little is known of it: 0 of 50 requests (minRequests) so far")
    assert (canary(cluster).step, canary(cluster).candidate_start) == (
        1,
        RequestCounters(requests=200, errors=100, timed=100, seconds=900.0),
    )


def test_without_an_analysis_nothing_is_read() -> None:
    cluster = verified()
    cluster.counters = counted((1000, 0, 100.0), (1000, 1000, 0.0))
    cluster.settle()
    assert (canary(cluster).step, canary(cluster).candidate_start) == (1, None)
