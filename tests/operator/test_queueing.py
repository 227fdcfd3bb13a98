"""Jobs that somebody else stops and starts: Kueue in its queues, or a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Merge
from distillery_operator.core.observe_queue import waiting_jobs
from simulated_cluster import SETTINGS, SimulatedCluster, written
from simulated_kueue import NO_QUOTA, PREEMPTED, SimulatedKueue

JOB = "conjnli-generate-khmqypiu-1"
QUEUED = {"name": "team", "priorityClass": "high"}
WAITS = f"generate: the Job {JOB} waits in the queue team"

Raw = dict[str, Any]


def settled(cluster: SimulatedCluster, kueue: SimulatedKueue) -> None:
    """Passes of the operator and of Kueue until nothing changes any more."""
    for _ in range(3):
        cluster.settle()
        kueue.pass_by()
    cluster.settle()


def queued(**changes: Any) -> tuple[SimulatedCluster, SimulatedKueue]:
    """A cluster whose first Job waits in a queue."""
    cluster = SimulatedCluster(**{"queue": QUEUED, **changes})
    kueue = SimulatedKueue(cluster)
    settled(cluster, kueue)
    return cluster, kueue


def running(**changes: Any) -> tuple[SimulatedCluster, SimulatedKueue]:
    """A cluster whose first Job was admitted and runs."""
    cluster, kueue = queued(**changes)
    kueue.admit()
    settled(cluster, kueue)
    cluster.start()
    cluster.settle()
    return cluster, kueue


def message(cluster: SimulatedCluster) -> str:
    ready = cluster.condition(ConditionType.READY)
    assert ready
    return ready.message


# --- without a queue


def test_a_job_that_somebody_suspended_stays_suspended_and_the_status_says_so() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.start()
    cluster.job()["spec"]["suspend"] = True
    cluster.settle()
    assert cluster.job()["spec"]["suspend"]
    assert cluster.truth(ConditionType.RECONCILING) == "True"
    assert cluster.reason() == "Queued"
    assert message(cluster) == (
        f"generate: the Job {JOB} is suspended, and not by this operator; it goes on once spec.suspend of the Job is"
        " false again"
    )
    cluster.job()["spec"]["suspend"] = False
    cluster.settle()
    assert cluster.reason() == "GeneratingData"
    assert cluster.record(Stage.GENERATE).attempts == 1


def test_a_suspension_of_ours_is_marked_and_undone() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.change(suspend=True)
    cluster.settle()
    assert cluster.job()["metadata"]["annotations"]["distillery.dev/suspended"] == "true"
    cluster.change(suspend=False)
    cluster.settle()
    assert not cluster.job()["spec"]["suspend"]
    assert "distillery.dev/suspended" not in cluster.job()["metadata"]["annotations"]


def test_what_somebody_suspended_stays_so_when_a_suspension_of_ours_ends() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    suspend_with_condition(cluster)
    cluster.wait(60)
    cluster.change(suspend=True)
    cluster.settle()
    cluster.change(suspend=False)
    cluster.settle()
    assert cluster.job()["spec"]["suspend"]
    assert cluster.reason() == "Queued"


def suspend_with_condition(cluster: SimulatedCluster) -> None:
    """Suspends the Job without a mark; the Job controller says when."""
    since = written(cluster.now)
    cluster.job()["spec"]["suspend"] = True
    cluster.job()["status"] = {
        "conditions": [{"type": "Suspended", "status": "True", "lastTransitionTime": since}],
    }


def test_what_an_earlier_release_suspended_is_marked_and_resumed() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.change(suspend=True)
    cluster.reconcile()
    job = cluster.job()
    # That release marked nothing, and the Job controller noted when it was suspended.
    del job["metadata"]["annotations"]["distillery.dev/suspended"]
    suspended = {"type": "Suspended", "status": "True", "lastTransitionTime": written(cluster.now)}
    job["status"] = {"conditions": [suspended]}
    cluster.reconcile()
    assert cluster.job()["metadata"]["annotations"]["distillery.dev/suspended"] == "true"
    cluster.change(suspend=False)
    cluster.reconcile()
    assert not cluster.job()["spec"]["suspend"]


# --- in a queue


@pytest.mark.parametrize(
    ("queue", "labels", "expected"),
    [
        (None, {}, {}),
        ({"name": "team"}, {}, {"queue-name": "team"}),
        (QUEUED, {}, {"queue-name": "team", "priority-class": "high"}),
        (None, {"queue-name": "a"}, {"queue-name": "a"}),
        (None, {"queue-name": "a", "priority-class": "low"}, {"queue-name": "a", "priority-class": "low"}),
        ({"name": "team"}, {"queue-name": "a", "priority-class": "b"}, {"queue-name": "team", "priority-class": "b"}),
        (QUEUED, {"queue-name": "a", "priority-class": "low"}, {"queue-name": "team", "priority-class": "high"}),
        (None, {"priority-class": "low"}, {}),
    ],
)
def test_the_queue_of_the_spec_or_of_the_labels_stands_on_the_job(
    queue: Raw | None, labels: Raw, expected: Raw
) -> None:
    cluster = SimulatedCluster(**({"queue": queue} if queue else {}))
    cluster.labels = {f"kueue.x-k8s.io/{key}": value for key, value in labels.items()}
    cluster.settle()
    found = cluster.job()["metadata"]["labels"]
    of_kueue = {key: value for key, value in found.items() if key.startswith("kueue.x-k8s.io/")}
    assert of_kueue == {f"kueue.x-k8s.io/{key}": value for key, value in expected.items()}
    assert cluster.job()["spec"]["suspend"] is bool(expected)
    # The labels are on the Job alone: its Pods are not queued once more.
    assert not any("kueue" in key for key in cluster.job()["spec"]["template"]["metadata"]["labels"])


def test_a_job_waits_in_its_queue_with_kueues_own_words() -> None:
    cluster, _ = queued()
    assert (cluster.truth(ConditionType.RECONCILING), cluster.reason()) == ("True", "Queued")
    assert message(cluster) == f"{WAITS}: {NO_QUOTA}"
    assert cluster.requeue_after().total_seconds() == 60  # type: ignore[union-attr]


def test_a_queue_without_kueue_is_said() -> None:
    cluster = SimulatedCluster(queue=QUEUED)
    cluster.settle()
    assert message(cluster) == f"{WAITS}, but no Kueue answers"
    assert cluster.job()["spec"]["suspend"]


def test_before_kueue_says_anything_its_workload_is_read_again_soon() -> None:
    cluster = SimulatedCluster(queue=QUEUED)
    cluster.kueue = True
    cluster.settle()
    assert message(cluster) == f"{WAITS}; Kueue has no Workload for it yet"
    assert cluster.requeue_after().total_seconds() == 2  # type: ignore[union-attr]


def test_an_admitted_job_runs_and_what_kueue_writes_into_it_is_no_drift() -> None:
    cluster, kueue = queued()
    kueue.admit()
    job = cluster.job()
    job["spec"]["template"]["spec"]["nodeSelector"] = {"flavor": "spot"}
    job["spec"]["template"]["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/topology"}]
    job["spec"]["template"]["metadata"]["labels"]["kueue.x-k8s.io/podset"] = "main"
    settled(cluster, kueue)
    assert cluster.decisions() == ()
    assert cluster.reason() == "GeneratingData"


def test_a_preempted_job_is_queued_again_and_uses_no_attempt() -> None:
    cluster, kueue = running()
    kueue.preempt()
    settled(cluster, kueue)
    assert (cluster.reason(), message(cluster)) == ("Queued", f"{WAITS}: {PREEMPTED}")
    kueue.admit()
    settled(cluster, kueue)
    assert cluster.reason() == "GeneratingData"
    assert (cluster.record(Stage.GENERATE).attempts, cluster.jobs()) == (1, [JOB])


def test_a_job_that_kueue_is_about_to_stop_or_start_is_read_again_soon() -> None:
    cluster, kueue = running()
    # Kueue suspends the Job first, and takes its quota back once its Pods have ended.
    cluster.job()["spec"]["suspend"] = True
    evicted = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": PREEMPTED}
    kueue.workload["status"]["conditions"].append(evicted)
    cluster.reconcile()
    assert message(cluster) == f"{WAITS}: {PREEMPTED}"
    assert cluster.requeue_after().total_seconds() == 2  # type: ignore[union-attr]


def test_the_pod_that_preemption_stops_is_no_failure() -> None:
    cluster, kueue = running()
    kueue.preempt()
    ended = {"exitCode": 143, "message": "", "reason": "Error", "finishedAt": written(cluster.now)}
    pod = cluster.pod()
    pod["metadata"]["deletionTimestamp"] = written(cluster.now)
    pod["status"] = {"phase": "Failed", "containerStatuses": [{"name": "stage", "state": {"terminated": ended}}]}
    cluster.reconcile()
    assert cluster.reason() == "Queued"
    assert cluster.record(Stage.GENERATE).attempts == 1


def test_a_suspended_distillation_deactivates_the_workload_and_leaves_the_jobs_suspend_to_kueue() -> None:
    cluster, kueue = running()
    cluster.change(suspend=True)
    actions = cluster.decisions()
    assert actions == (
        Merge(
            "Workload",
            f"job-{JOB}-0a1b2",
            {"metadata": {"annotations": {"distillery.dev/suspended": "true"}}, "spec": {"active": False}},
        ),
    )
    settled(cluster, kueue)
    assert cluster.job()["spec"]["suspend"]
    assert cluster.reason() == "Suspended"
    assert cluster.decisions() == ()
    cluster.change(suspend=False)
    settled(cluster, kueue)
    assert kueue.workload["spec"]["active"]
    assert "distillery.dev/suspended" not in kueue.workload["metadata"]["annotations"]
    assert cluster.reason() == "Queued"
    kueue.admit()
    settled(cluster, kueue)
    assert (cluster.reason(), cluster.record(Stage.GENERATE).attempts) == ("GeneratingData", 1)


def test_a_job_that_still_waits_is_not_admitted_while_the_distillation_is_suspended() -> None:
    cluster, kueue = queued()
    cluster.change(suspend=True)
    settled(cluster, kueue)
    assert not kueue.workload["spec"]["active"]
    cluster.change(suspend=False)
    settled(cluster, kueue)
    assert kueue.workload["spec"]["active"]


def test_a_workload_that_kueue_has_not_made_yet_is_deactivated_when_it_appears() -> None:
    cluster = SimulatedCluster(queue=QUEUED)
    kueue = SimulatedKueue(cluster)
    cluster.settle()
    cluster.change(suspend=True)
    settled(cluster, kueue)
    assert not kueue.workload["spec"]["active"]


def test_a_workload_that_somebody_made_inactive_stays_so() -> None:
    cluster, kueue = running()
    kueue.deactivate("Deactivated", "The workload is deactivated")
    settled(cluster, kueue)
    assert message(cluster) == f"{WAITS}: spec.active is false: The workload is deactivated"
    assert cluster.truth(ConditionType.RECONCILING) == "True"
    cluster.change(suspend=True)
    settled(cluster, kueue)
    cluster.change(suspend=False)
    settled(cluster, kueue)
    assert not kueue.workload["spec"]["active"]


def test_a_job_that_kueue_gives_up_needs_a_person() -> None:
    cluster, kueue = running()
    kueue.deactivate("DeactivatedDueToRequeuingLimitExceeded", "exceeded the maximum number of re-queuing retries")
    settled(cluster, kueue)
    assert (cluster.truth(ConditionType.STALLED), cluster.reason()) == ("True", "Unschedulable")
    assert "exceeded the maximum number of re-queuing retries; delete the Job to queue it again" in message(cluster)
    cluster.job()["metadata"]["deletionTimestamp"] = written(cluster.now)
    cluster.collect()
    settled(cluster, kueue)
    assert (cluster.reason(), cluster.jobs()) == ("Queued", [JOB])


def test_without_kueue_a_running_job_in_a_queue_is_suspended_itself() -> None:
    cluster, kueue = running()
    cluster.kueue = False
    del cluster.objects["Workload", kueue.workload["metadata"]["name"]]
    cluster.change(suspend=True)
    cluster.settle()
    assert cluster.job()["spec"]["suspend"]
    cluster.change(suspend=False)
    cluster.settle()
    assert not cluster.job()["spec"]["suspend"]


@pytest.mark.parametrize(
    ("changes", "replaced"),
    [
        ({"generation": {"concurrency": 7}}, True),
        ({"generation": {"resources": {"limits": {"cpu": 2}}}}, True),
        ({"queue": {"name": "other"}}, True),
        ({"queue": {"name": "team"}}, True),
        ({"serving": {"runtime": "VLLM"}}, False),
        ({"serving": {"runtime": "Transformers", "replicas": 0}}, False),
        ({"storage": {"size": "70Gi"}}, False),
    ],
)
def test_a_queued_job_is_replaced_where_the_user_changed_what_it_was_made_from(changes: Raw, replaced: bool) -> None:
    cluster, kueue = queued()
    before = cluster.job()["metadata"]["uid"]
    if "generation" in changes:
        changes = {"generation": {**cluster.spec["generation"], **changes["generation"]}}
    cluster.change(**changes)
    settled(cluster, kueue)
    assert (cluster.job()["metadata"]["uid"] != before) is replaced
    assert (cluster.reason(), cluster.record(Stage.GENERATE).attempts) == ("Queued", 1)


def test_another_release_or_setting_of_the_operator_costs_no_turn_in_the_queue() -> None:
    cluster, kueue = queued()
    before = cluster.job()["metadata"]["uid"]
    newer = replace(SETTINGS.manifests, trainer_image="distillery-trainer:2", stage_grace_seconds=7)
    cluster.settings = replace(SETTINGS, manifests=newer)
    settled(cluster, kueue)
    assert cluster.job()["metadata"]["uid"] == before


def test_a_queue_that_sends_jobs_to_other_clusters_is_refused() -> None:
    cluster, kueue = queued()
    cluster.job()["spec"]["managedBy"] = "kueue.x-k8s.io/multikueue"
    settled(cluster, kueue)
    assert (cluster.truth(ConditionType.STALLED), cluster.reason()) == ("True", "InvalidSpec")
    assert message(cluster) == (
        "generate: the queue team sends its Jobs to other clusters (MultiKueue), where the workspace volume does not"
        " exist; choose a queue of this cluster in spec.queue"
    )
    # It is not dispatched.
    assert not kueue.workload["spec"]["active"]
    cluster.change(queue={"name": "here"})
    settled(cluster, kueue)
    assert (cluster.reason(), cluster.job()["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]) == ("Queued", "here")


def test_workloads_are_read_only_of_jobs_that_wait_in_a_queue() -> None:
    cluster, kueue = queued()
    uid = cluster.job()["metadata"]["uid"]
    assert waiting_jobs([cluster.job()], suspended=False) == (uid,)
    kueue.admit()
    assert waiting_jobs([cluster.job()], suspended=False) == ()
    assert waiting_jobs([cluster.job()], suspended=True) == (uid,)
    plain = SimulatedCluster()
    plain.settle()
    assert waiting_jobs([plain.job()], suspended=True) == ()


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (QUEUED, {}),
        (
            {**QUEUED, "serving": True},
            {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "high"},
        ),
    ],
)
def test_the_server_waits_in_the_queue_only_where_the_spec_says_so(queue: Raw, expected: Raw) -> None:
    cluster, kueue = queued(queue=queue)
    for _ in range(3):
        kueue.admit()
        settled(cluster, kueue)
        cluster.start()
        cluster.finish()
        settled(cluster, kueue)
    labels = cluster.objects["Deployment", "conjnli"]["metadata"]["labels"]
    assert {key: value for key, value in labels.items() if "kueue" in key} == expected


# --- without the right to read Kueue's objects


def test_a_job_in_a_queue_that_may_not_be_looked_into_waits_and_the_status_says_so() -> None:
    cluster, kueue = queued()
    cluster.may_read_workloads = False
    cluster.settle()
    assert message(cluster) == f"{WAITS}, but the operator may not read why"
    assert cluster.condition(ConditionType.RECONCILING)
    kueue.admit()
    settled(cluster, kueue)
    assert cluster.job()["spec"]["suspend"] is False


def test_a_suspended_distillation_says_that_it_cannot_stop_its_job_and_does_not_fight_over_it() -> None:
    cluster, _ = running()
    cluster.may_read_workloads = False
    cluster.change(suspend=True)
    cluster.settle()
    assert cluster.decisions() == ()
    assert message(cluster) == (
        f"spec.suspend is true, but the Job {JOB} is in a queue, and the operator may not read why"
    )
