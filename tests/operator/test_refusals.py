"""What the API server refuses: it stands in the status until it succeeds, and keeps nothing else from happening."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType, DistillationStatus
from distillery_operator.core.events import status_changes
from distillery_operator.core.quota import frees_itself
from distillery_operator.errors import AdmissionFailed, Forbidden, Invalid, Refused
from simulated_cluster import RUN_STAGES, SimulatedCluster

CLAIM = "conjnli-workspace-5f0c1a2b"
TRAIN_JOB = "conjnli-train-nxevyml5-1"
GENERATE = "conjnli-generate-khmqypiu"
DENIED = Forbidden('admission webhook "p" denied the request: no')
QUOTA = Forbidden('jobs.batch "j" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5')
INVALID = Invalid('Job.batch "j" is invalid: spec.x: Invalid value: "y": field is immutable')
TOO_LARGE = "exceeded quota: q, requested: memory=9Gi, used: memory=0, limited: memory=8Gi"


Prepared = Callable[[], SimulatedCluster]


def new() -> SimulatedCluster:
    return SimulatedCluster()


def generating() -> SimulatedCluster:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.start()
    return cluster


def pending() -> SimulatedCluster:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.wait_for("ErrImagePull", "no such image")
    cluster.settle()
    return cluster


def training() -> SimulatedCluster:
    cluster = generating()
    cluster.finish()
    cluster.settle()
    cluster.start()
    return cluster


def evaluated() -> SimulatedCluster:
    """All stages before the server are done, but that is not known yet."""
    cluster = SimulatedCluster()
    cluster.run_stages(*RUN_STAGES[:-1])
    cluster.start()
    cluster.finish()
    return cluster


def served() -> SimulatedCluster:
    cluster = SimulatedCluster()
    cluster.run_stages(*Stage)
    return cluster


def suspended() -> SimulatedCluster:
    cluster = generating()
    cluster.change(suspend=True)
    cluster.settle()
    return cluster


Change = dict[str, object]
NOTHING: Change = {}
MORE_MEMORY: Change = {"serving": {"runtime": "Transformers", "resources": {"limits": {"memory": "2Gi"}}}}
UNSERVED: Change = {"serving": {"mode": "None"}}
OWNED: Change = {"storage": {"retention": "Delete"}}
RETRAINED: Change = {"training": {"learningRate": 1e-5}}
REGENERATED: Change = {"generation": None}

REFUSED = {
    "a Pod to come": (new, NOTHING, "create", "Pod", f"{GENERATE}-check", True),
    "the claim": (new, NOTHING, "create", "PersistentVolumeClaim", CLAIM, True),
    "a ConfigMap": (new, NOTHING, "create", "ConfigMap", GENERATE, True),
    "a Job": (new, NOTHING, "create", "Job", f"{GENERATE}-1", True),
    "the server": (evaluated, NOTHING, "create", "Deployment", "conjnli", True),
    "the Service": (evaluated, NOTHING, "create", "Service", "conjnli", True),
    "the Pod of a changed server": (served, MORE_MEMORY, "create", "Pod", "conjnli-check", True),
    "a changed server": (served, MORE_MEMORY, "patch", "Deployment", "conjnli", True),
    "removal of the server": (served, UNSERVED, "delete", "Deployment", "conjnli", True),
    "removal of the Service": (served, UNSERVED, "delete", "Service", "conjnli", True),
    "the claim's owner": (served, OWNED, "patch", "PersistentVolumeClaim", CLAIM, True),
    "the claim's owner while a stage runs": (training, OWNED, "patch", "PersistentVolumeClaim", CLAIM, False),
    "suspension": (generating, {"suspend": True}, "patch", "Job", f"{GENERATE}-1", True),
    "resumption": (suspended, {"suspend": False}, "patch", "Job", f"{GENERATE}-1", True),
    "an obsolete Job that runs": (training, RETRAINED, "delete", "Job", TRAIN_JOB, True),
    "an outdated Job": (pending, REGENERATED, "delete", "Job", f"{GENERATE}-1", True),
    "an old Job": (served, RETRAINED, "delete", "Job", TRAIN_JOB, False),
}
"""What is to be done, refused; and whether the Distillation waits for it."""


ERRORS = {"denied": DENIED, "invalid": INVALID, "quota": QUOTA, "no webhook": AdmissionFailed("failed calling webhook")}


@pytest.mark.parametrize(("prepared", "change", "verb", "kind", "name", "waits"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_refused_action_stands_in_the_status_until_it_succeeds(
    prepared: Prepared, change: Change, verb: str, kind: str, name: str, waits: bool, error: Refused
) -> None:
    cluster = prepared()
    changed(cluster, change)
    cluster.refuses[verb, kind] = error
    statuses = passes(cluster, 6)

    assert name in {each.name for each in cluster.status.refused if (each.verb, each.kind) == (verb, kind)}
    transient = isinstance(error, AdmissionFailed) or error is QUOTA
    expected = None if not waits else "Reconciling" if transient else "Stalled"
    assert expected is None or cluster.truth(ConditionType(expected)) == "True"
    assert f"the API server refuses to {verb} the {kind} {name}: {error}" in message(cluster)
    settled = statuses[2:]
    assert [status_changes(before, after) for before, after in pairwise(settled)] == [()] * 3
    assert settled[1] == settled[2] == settled[3]

    cluster.refuses.clear()
    cluster.settle()
    assert cluster.status.refused == ()
    assert "refuses" not in message(cluster)
    assert cluster.truth(ConditionType.STALLED) is None or prepared is pending


def changed(cluster: SimulatedCluster, change: Change) -> None:
    if "generation" in change:
        resources = {"resources": {"limits": {"memory": "2Gi"}}}
        change = {"generation": {**cluster.spec["generation"], **resources}}
    if change:
        cluster.change(**change)


def passes(cluster: SimulatedCluster, count: int) -> list[DistillationStatus]:
    """The status after each pass."""
    statuses = []
    for _ in range(count):
        cluster.reconcile()
        cluster.collect()
        statuses.append(cluster.status)
    return statuses


def message(cluster: SimulatedCluster) -> str:
    found = cluster.condition(ConditionType.READY)
    return found.message if found else ""


def test_a_refused_change_of_the_claim_keeps_no_stage_and_no_server_from_starting() -> None:
    cluster = generating()
    cluster.refuses["patch", "PersistentVolumeClaim"] = DENIED
    cluster.change(storage={"retention": "Delete"})
    cluster.finish()
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert (cluster.truth(ConditionType.AVAILABLE), cluster.truth(ConditionType.READY)) == ("True", "False")
    assert cluster.reason(ConditionType.STALLED) == "PodRefused"


def test_what_cannot_be_cleared_away_keeps_no_student_from_being_ready() -> None:
    cluster = served()
    cluster.refuses["delete", "Job"] = cluster.refuses["delete", "ConfigMap"] = DENIED
    cluster.change(training={"learningRate": 1e-5})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert (cluster.truth(ConditionType.READY), cluster.truth(ConditionType.STALLED)) == ("True", None)
    assert message(cluster).startswith(
        "the student is served at http://conjnli.team-a.svc:8000/v1; the API server refuses"
    )


ANOTHER_SERVER: Change = {
    "serving": {"runtime": "Transformers", "podTemplate": {"spec": {"priorityClassName": "high"}}}
}
SHARED: Change = {"storage": {"accessModes": ["ReadWriteMany"]}}


@pytest.mark.parametrize(
    ("storage", "change", "replaced"),
    [(NOTHING, ANOTHER_SERVER, True), (NOTHING, MORE_MEMORY, False), (SHARED, ANOTHER_SERVER, False)],
    ids=["instead of the former", "which asks for more", "beside the former"],
)
def test_a_quota_that_the_server_itself_fills_lets_it_be_replaced(
    storage: Change, change: Change, replaced: bool
) -> None:
    cluster = SimulatedCluster(**storage)
    cluster.run_stages(*Stage)
    before = cluster.objects["Deployment", "conjnli"]["spec"]
    cluster.refuses["create", "Pod"] = QUOTA
    cluster.change(**change)
    passes(cluster, 2)
    assert (cluster.objects["Deployment", "conjnli"]["spec"] != before) is replaced
    assert bool(cluster.status.refused) is not replaced


def test_an_attempt_starts_as_a_whole_or_not_at_all() -> None:
    cluster = SimulatedCluster()
    cluster.refuses["create", "PersistentVolumeClaim"] = QUOTA
    passes(cluster, 3)
    assert cluster.objects == {}
    assert (cluster.truth(ConditionType.RECONCILING), cluster.reason()) == ("True", "Queued")


def test_a_new_spec_and_the_retry_annotation_have_everything_tried_again() -> None:
    cluster = SimulatedCluster()
    cluster.refuses["create", "Job"] = DENIED
    passes(cluster, 2)
    kept = cluster.status.refused
    cluster.request_retry()
    assert (cluster.assessment().situation.retry_requested, kept[0].name) == (True, f"{GENERATE}-1")
    cluster.reconcile()
    assert (cluster.status.refused, cluster.status.last_handled_retry_at) == (kept, "2026-11-25T12:00:00Z")


@pytest.mark.parametrize(
    ("text", "transient"),
    [
        (str(QUOTA), True),
        (TOO_LARGE, False),
        (
            "exceeded quota: q, requested: cpu=500m,memory=1Gi, used: cpu=9,memory=0, limited: cpu=9,memory=1000Mi",
            False,
        ),
        ("exceeded quota: q, requested: cpu=500m,memory=1Gi, used: cpu=9,memory=0, limited: cpu=9,memory=1Gi", True),
        ("exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0", False),
        ("exceeded quota: q, requested: cpu=?, used: cpu=9, limited: cpu=9", True),
        ("exceeded quota: q, requested: limits.cpu=4,limits.mem", True),
        ("status unknown for quota: q, resources: pods", True),
        ("failed quota: q: must specify limits.cpu for: stage", False),
        ("insufficient quota to consume: requests.nvidia.com/gpu", False),
        ('admission webhook "w" denied the request: quota', False),
    ],
)
def test_only_a_quota_that_others_use_up_frees_itself(text: str, transient: bool) -> None:
    assert frees_itself(text) is transient
