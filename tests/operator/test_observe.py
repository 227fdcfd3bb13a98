from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_operator.core.observation import Children, JobState, Observation, ObservedJob, Ownership
from distillery_operator.core.observe import observe
from distillery_operator.core.problem import Problem
from simulated_cluster import START, UID, written

Raw = dict[str, Any]

NOW = START + timedelta(minutes=5)
LABELS = {
    "app.kubernetes.io/component": "train",
    "distillery.dev/name": "conjnli",
    "distillery.dev/hash": "abcdefgh",
    "distillery.dev/attempt": "2",
}
OWNER = {"kind": "Distillation", "name": "conjnli", "uid": UID}
DONE = StageResult(stage=Stage.TRAIN, folder="train-abcdefgh", state=StageOutcome.DONE)


def job(condition: str | None = None, *, owner: Raw | None = OWNER, suspend: bool = False, **metadata: Any) -> Raw:
    ended = {"type": condition, "status": "True", "lastTransitionTime": written(NOW), "message": "the Job's own words"}
    return {
        "kind": "Job",
        "metadata": {
            "name": "conjnli-train-abcdefgh-2",
            "uid": "job-uid",
            "labels": LABELS,
            "creationTimestamp": written(START),
            "ownerReferences": [owner] if owner else [],
            **metadata,
        },
        "spec": {"suspend": suspend},
        "status": {"conditions": [ended] if condition else []},
    }


def pod(phase: str = "Pending", state: Raw | None = None, **fields: Any) -> Raw:
    """The Job's Pod; `state` is its container's. `fields` are further fields of the Pod's status."""
    containers = [{"name": "stage", "image": "trainer:1", "state": state}] if state else []
    return {
        "metadata": {
            "name": "conjnli-train-abcdefgh-2-x",
            "labels": LABELS,
            "creationTimestamp": written(START),
            "ownerReferences": [{"kind": "Job", "name": "conjnli-train-abcdefgh-2", "uid": "job-uid"}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "stage", "resources": {"limits": {"memory": "4Gi"}}}]},
        "status": {"phase": phase, "containerStatuses": containers, **fields},
    }


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Raw:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": written(START),
    }


def terminated(exit_code: int, message: str = "", reason: str = "Error") -> Raw:
    return {"terminated": {"exitCode": exit_code, "message": message, "reason": reason, "finishedAt": written(NOW)}}


def event(name: str, reason: str, message: str) -> Raw:
    return {"involvedObject": {"name": name}, "reason": reason, "message": message}


def seen(*, jobs: list[Raw] | None = None, pods: list[Raw] | None = None, **children: Any) -> Observation:
    raw = Children(jobs=tuple(jobs or ()), pods=tuple(pods or ()), **children)
    return observe(raw, owner_uid=UID, now=NOW)


def seen_job(job_: Raw, *pods: Raw, events: tuple[Raw, ...] = ()) -> ObservedJob:
    (found,) = seen(jobs=[job_], pods=list(pods), events=events).jobs
    return found


def problem(pod_: Raw, *events: Raw) -> tuple[Reason | None, str] | None:
    found = seen_job(job(), pod_, events=events)
    assert found.state is JobState.PENDING
    return (found.problem.reason, found.problem.message) if found.problem else None


def test_a_jobs_labels_say_what_it_is_for() -> None:
    found = seen_job(job())
    assert (found.stage, found.input_hash, found.attempt) == (Stage.TRAIN, "abcdefgh", 2)
    assert (found.state, found.created) == (JobState.PENDING, START)


def test_a_running_pod_has_an_address_for_its_stage_report() -> None:
    found = seen(jobs=[job()], pods=[pod("Running", {"running": {}}, podIP="10.0.0.7")])
    assert found.running_job is not None
    assert (found.running_job.state, found.running_job.pod_ip) == (JobState.RUNNING, "10.0.0.7")
    assert seen(jobs=[job()], pods=[pod("Running", {"running": {}})]).running_job is None


def test_a_stage_is_done_as_soon_as_its_container_says_so() -> None:
    # The Job controller takes a second longer.
    found = seen_job(job(), pod("Succeeded", terminated(0, DONE.termination_message())))
    assert (found.state, found.finished, found.result, found.live) == (JobState.DONE, NOW, DONE, False)


def test_a_sidecar_that_goes_on_or_fails_does_not_undo_a_stage() -> None:
    end = terminated(0, DONE.termination_message())
    assert seen_job(job(), pod("Running", end)).state is JobState.DONE
    assert seen_job(job("Failed"), pod("Failed", end)).state is JobState.DONE


@pytest.mark.parametrize("exit_code", [1, 2, 3, 137, 143])
def test_a_failed_stage_has_failed_although_a_sidecar_goes_on(exit_code: int) -> None:
    found = seen_job(job(), pod("Running", terminated(exit_code, "RuntimeError: no such device")))
    assert (found.state, found.exit_code, found.finished) == (JobState.FAILED, exit_code, NOW)
    assert (found.live, found.has_finished) == (False, False)
    assert found.problem is not None
    assert found.problem.message == f"exit code {exit_code}: RuntimeError: no such device"


def test_a_stage_without_a_result_has_failed_although_a_sidecar_goes_on() -> None:
    found = seen_job(job(), pod("Running", terminated(0)))
    assert found.problem is not None
    assert (found.state, found.problem.message) == (
        JobState.FAILED,
        "the Job completed, but its termination message with the result is missing or invalid",
    )


def test_an_evicted_pod_is_replaced_although_its_stage_has_stopped_before_its_sidecar() -> None:
    stopping = pod(
        "Running", terminated(143), conditions=[condition("DisruptionTarget", "True", "EvictionByEvictionAPI")]
    )
    assert seen_job(job(), stopping).state is JobState.PENDING


@pytest.mark.parametrize("kind", ["FailureTarget", "Failed"])
def test_an_attempt_that_ran_for_too_long_says_so_rather_than_how_it_was_stopped(kind: str) -> None:
    late = job(kind)
    late["status"]["conditions"][0] |= {"reason": "DeadlineExceeded"}
    stopped = pod(
        "Running", terminated(143, DONE.model_copy(update={"state": StageOutcome.FAILED}).termination_message())
    )
    pods = [stopped] if kind == "FailureTarget" else []
    found = seen_job(late, *pods)
    assert found.problem is not None
    assert (found.state, found.problem.reason, found.exit_code) == (JobState.FAILED, Reason.DEADLINE_EXCEEDED, None)


def test_an_attempt_whose_job_is_late_to_say_so_ran_for_too_long_by_its_times() -> None:
    late = job()
    late["spec"]["activeDeadlineSeconds"] = 300
    late["status"]["startTime"] = written(START)
    found = seen_job(late, pod("Running", terminated(143)))
    assert found.problem is not None
    assert found.problem.reason is Reason.DEADLINE_EXCEEDED


@pytest.mark.parametrize("message", ["", "cut off {", '{"stage": "train"}'])
def test_a_completed_job_without_a_readable_result_has_failed(message: str) -> None:
    found = seen_job(job("Complete"), pod("Succeeded", terminated(0, message)))
    assert found.state is JobState.FAILED
    assert found.problem is not None
    assert (found.problem.reason, found.exit_code) == (None, None)
    assert found.problem.message == (
        "the Job completed, but its termination message with the result is missing or invalid"
    )


def test_a_failed_stage_speaks_for_itself() -> None:
    result = DONE.model_copy(
        update={"state": StageOutcome.FAILED, "reason": Reason.STORAGE_FULL, "message": "no space"}
    )
    found = seen_job(job("Failed"), pod("Failed", terminated(2, result.termination_message())))
    assert (found.state, found.exit_code, found.result) == (JobState.FAILED, 2, result)
    assert found.problem is not None
    assert (found.problem.reason, found.problem.message) == (Reason.STORAGE_FULL, "no space")


def test_a_crash_is_reported_by_the_last_line_of_the_log() -> None:
    log = "Traceback (most recent call last):\n  File …\nRuntimeError: no such device\n\n"
    found = seen_job(job("Failed"), pod("Failed", terminated(1, log)))
    assert found.problem is not None
    assert (found.problem.reason, found.problem.message) == (None, "exit code 1: RuntimeError: no such device")


def test_an_exceeded_memory_limit_is_named() -> None:
    found = seen_job(job("Failed"), pod("Failed", terminated(137, "", "OOMKilled")))
    assert found.problem is not None
    assert found.problem.reason is Reason.CONTAINER_OOM_KILLED
    assert found.problem.message == (
        "the container exceeded its memory limit of 4Gi (OOMKilled); raise resources.limits.memory"
    )


def test_a_failed_job_without_a_pod_has_the_jobs_own_message() -> None:
    found = seen_job(job("Failed"))
    assert found.problem is not None
    assert found.problem.message == "the Job failed: the Job's own words"


def test_a_job_whose_pod_was_deleted_says_so() -> None:
    failed = job("Failed")
    failed["status"]["conditions"][0] |= {"reason": "BackoffLimitExceeded", "message": "reached the backoff limit"}
    found = seen_job(failed)
    assert (found.state, found.exit_code) == (JobState.FAILED, None)
    assert found.problem is not None
    assert found.problem.message == "its Pod was deleted, and its last message with it"


def test_a_pod_that_failed_by_another_container_names_it() -> None:
    failed = pod("Failed", None, initContainerStatuses=[{"name": "setup", "state": terminated(7, "no key\n")}])
    found = seen_job(job("Failed"), failed)
    assert found.problem is not None
    assert found.problem.message == "the container setup exited with code 7: no key"


def test_a_failed_pod_whose_job_may_replace_it_has_not_failed_yet() -> None:
    evicted = pod(
        "Failed",
        terminated(137),
        reason="Evicted",
        conditions=[condition("DisruptionTarget", "True", "TerminationByKubelet", "the node was low on memory")],
    )
    found = seen_job(job(), evicted)
    assert found.state is JobState.PENDING
    assert found.problem is not None
    assert found.problem.reason is Reason.POD_EVICTED
    assert found.problem.message == "the Pod is being evicted from node-1: the node was low on memory"


def test_an_eviction_that_failed_the_job_is_named_rather_than_its_exit_code() -> None:
    evicted = pod("Failed", terminated(137), reason="Evicted", message="low on ephemeral storage")
    found = seen_job(job("Failed"), evicted)
    assert found.problem is not None
    assert found.problem.reason is Reason.POD_EVICTED
    assert found.problem.message == "the Pod was evicted: low on ephemeral storage"


def test_a_replacement_counts_rather_than_the_pod_before_it() -> None:
    old, new = pod("Failed", terminated(137)), pod("Running", {"running": {}})
    new["metadata"] |= {"name": "new", "creationTimestamp": written(NOW)}
    assert seen_job(job(), new, old).pod == "new"
    assert seen_job(job(), new, old).state is JobState.RUNNING


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    waits = pod("Pending", {"waiting": {"reason": reason, "message": "not found"}})
    assert problem(waits) == (Reason.IMAGE_PULL_ERROR, "the image trainer:1 cannot be pulled: not found")


def test_a_missing_secret_key_is_named() -> None:
    message = "couldn't find key api-key in Secret team-a/teacher"
    waits = pod("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": message}})
    assert problem(waits) == (Reason.CONFIGURATION_MISSING, message)


def test_a_full_cluster_and_a_missing_claim_are_different_problems() -> None:
    full = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    missing = 'persistentvolumeclaim "rows" not found'
    unscheduled = [
        pod(conditions=[condition("PodScheduled", "False", "Unschedulable", each)]) for each in (full, missing)
    ]
    assert problem(unscheduled[0]) == (Reason.UNSCHEDULABLE, full)
    assert problem(unscheduled[1]) == (Reason.CONFIGURATION_MISSING, missing)
    assert problem(pod(conditions=[condition("PodScheduled", "False", "SchedulingGated", "a gate")])) is None


def test_events_about_volumes_are_reported() -> None:
    name = "conjnli-train-abcdefgh-2-x"
    assert problem(pod(), event(name, "FailedAttachVolume", "Multi-Attach error")) == (
        Reason.VOLUME_UNAVAILABLE,
        "Multi-Attach error",
    )
    missing = 'MountVolume.SetUp failed for volume "data-0" : configmap "few" not found'
    assert problem(pod(), event(name, "FailedMount", missing)) == (Reason.CONFIGURATION_MISSING, missing)
    assert problem(pod(), event("another-pod", "FailedMount", missing)) is None


def test_an_old_mount_event_is_no_problem_of_a_running_pod() -> None:
    running = pod("Running", {"running": {}})
    late = event("conjnli-train-abcdefgh-2-x", "FailedMount", "timed out")
    assert seen_job(job(), running, events=(late,)).state is JobState.RUNNING


def test_volumes_that_take_longer_than_a_minute_are_suspected() -> None:
    scheduled = condition("PodScheduled", "True")
    waits = pod(conditions=[scheduled, condition("PodReadyToStartContainers", "False")])
    found = problem(waits)
    assert found is not None
    assert found[0] is Reason.VOLUME_UNAVAILABLE
    pulls = pod(conditions=[scheduled, condition("PodReadyToStartContainers", "True")])
    assert problem(pulls) is None


def on_lost_node(seconds: int, **fields: Any) -> Raw:
    """A running Pod that was to have ended so many seconds ago."""
    made = pod("Running", {"running": {"startedAt": written(START)}}, **fields)
    made["metadata"]["deletionTimestamp"] = written(NOW - timedelta(seconds=seconds))
    return made


LOST = (
    "the node node-1 does not confirm that the Pod conjnli-train-abcdefgh-2-x has ended, so it may still write to the"
    " workspace. If the node comes back, this ends by itself. If its machine is off or gone for good, run kubectl"
    " delete node node-1, or kubectl taint node node-1 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute; the"
    " stage then goes on"
)


def test_a_pod_that_its_node_does_not_end_in_time_is_lost() -> None:
    disruption = condition("DisruptionTarget", "True", "DeletionByTaintManager", "deleting due to NoExecute taint")
    assert problem(on_lost_node(61, conditions=[disruption])) == (Reason.NODE_LOST, LOST)
    assert problem(on_lost_node(61)) == (Reason.NODE_LOST, LOST)
    assert problem(on_lost_node(59, conditions=[disruption])) == (
        Reason.POD_EVICTED,
        "the Pod is being evicted from node-1: deleting due to NoExecute taint",
    )
    ended = on_lost_node(3600)
    ended["status"]["containerStatuses"][0]["state"] = terminated(143)
    assert seen(jobs=[job()], pods=[ended]).lost_pod is None


def test_a_lost_pod_of_a_job_that_is_being_deleted_or_gone_is_known() -> None:
    deleted = seen(jobs=[job(deletionTimestamp=written(NOW))], pods=[on_lost_node(3600)])
    gone = seen(pods=[on_lost_node(3600)])
    for found in (deleted, gone):
        assert found.lost_pod is not None
        assert (found.lost_pod.problem.message, found.lost_pod.since) == (LOST, NOW - timedelta(hours=1))
    assert gone.orphaned_pods == ("conjnli-train-abcdefgh-2-x",)


def test_a_node_that_has_just_stopped_answering_is_named() -> None:
    conditions = [condition("Ready", "False"), condition("ContainersReady", "True")]
    silent = pod("Running", {"running": {"startedAt": written(START)}}, conditions=conditions)
    assert problem(silent) == (
        Reason.NODE_LOST,
        "the node node-1 does not answer; unless it comes back, the Pod is removed once its tolerations end, which is"
        " after 5 minutes by default",
    )
    unready = pod("Running", {"running": {"startedAt": written(START)}}, conditions=[condition("Ready", "False")])
    assert seen_job(job(), unready).state is JobState.RUNNING


def unbound(*events: Raw) -> tuple[ObservedJob, Observation]:
    immediate = condition("PodScheduled", "False", "Unschedulable", "pod has unbound immediate PersistentVolumeClaims")
    found = seen(jobs=[job()], pods=[pod(conditions=[immediate])], claim=claim(phase="Pending"), events=tuple(events))
    return found.jobs[0], found


@pytest.mark.parametrize(
    ("event_", "reason", "message"),
    [
        (
            event("w", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
            Reason.CONFIGURATION_MISSING,
            'the claim w gets no volume: storageclass.storage.k8s.io "fast" not found; create the storage class, or'
            " make one the default",
        ),
        (
            event("w", "FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
            Reason.CONFIGURATION_MISSING,
            "the claim w gets no volume: no persistent volumes available for this claim and no storage class is set;"
            " create the storage class, or make one the default",
        ),
        (
            event("w", "ProvisioningFailed", "rpc error: code = ResourceExhausted desc = quota of the account"),
            Reason.VOLUME_UNAVAILABLE,
            "the claim w gets no volume: rpc error: code = ResourceExhausted desc = quota of the account",
        ),
    ],
)
def test_a_claim_that_gets_no_volume_says_why(event_: Raw, reason: Reason, message: str) -> None:
    found, _ = unbound(event_)
    assert found.problem is not None
    assert (found.problem.reason, found.problem.message) == (reason, message)


def test_a_claim_that_waits_for_its_first_pod_or_is_being_provisioned_is_no_problem() -> None:
    usual = [
        event("w", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        event("w", "ExternalProvisioning", "waiting for a volume to be created"),
        event("another", "ProvisioningFailed", "no"),
    ]
    found, observation = unbound(*usual)
    assert found.problem is not None
    assert found.problem.reason is Reason.UNSCHEDULABLE
    assert observation.unexplained == ("w",)


def test_an_old_event_of_a_claim_that_has_its_volume_is_no_problem() -> None:
    failed = event("w", "ProvisioningFailed", "no")
    assert seen(jobs=[job()], pods=[pod()], claim=claim(), events=(failed,)).jobs[0].problem is None


def test_a_missing_storage_class_that_the_scheduler_finds_is_named() -> None:
    message = 'running PreFilter plugin "VolumeBinding": storageclass.storage.k8s.io "fast" not found'
    waits = pod(conditions=[condition("PodScheduled", "False", "SchedulerError", message)])
    assert problem(waits) == (Reason.CONFIGURATION_MISSING, message)


def test_a_pod_that_is_refused_shows_in_the_jobs_events() -> None:
    refused = event("conjnli-train-abcdefgh-2", "FailedCreate", "exceeded quota: compute")
    found = seen_job(job(), events=(refused,))
    assert found.problem is not None
    assert (found.problem.reason, found.state) == (Reason.QUEUED, JobState.PENDING)
    assert found.problem.message == "its Pod was refused: exceeded quota: compute"
    unfit = event("conjnli-train-abcdefgh-2", "FailedCreate", 'violates PodSecurity "restricted:latest": privileged')
    found = seen_job(job(), events=(unfit,))
    assert found.problem is not None
    assert found.problem.reason is Reason.POD_REFUSED
    others = (event("another-job", "FailedCreate", "no"), event("conjnli-train-abcdefgh-2", "SuccessfulCreate", "yes"))
    assert seen_job(job(), events=others).problem is None


def test_what_does_not_start_and_does_not_say_why_is_unexplained() -> None:
    assert seen(jobs=[job()]).unexplained == ("conjnli-train-abcdefgh-2",)
    assert seen(jobs=[job()], pods=[pod()]).unexplained == ("conjnli-train-abcdefgh-2-x",)
    assert seen(jobs=[job(creationTimestamp=written(NOW))]).unexplained == ()
    assert seen(jobs=[job()], pods=[pod("Running", {"running": {}})]).unexplained == ()


def test_a_suspended_job_is_neither_pending_nor_live() -> None:
    found = seen_job(job(suspend=True))
    assert (found.state, found.live) == (JobState.SUSPENDED, False)
    assert seen_job(job(suspend=True), pod("Running", {"running": {}})).live


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (job(owner=None), JobState.FOREIGN),
        (job(owner={"kind": "Distillation", "name": "other", "uid": "x"}), JobState.FOREIGN),
        (job(owner={"kind": "CronJob", "name": "conjnli", "uid": "x"}), JobState.FOREIGN),
        (job(deletionTimestamp=written(NOW)), JobState.TERMINATING),
        # Left over from a Distillation of the same name that was deleted a moment ago.
        (job(owner={"kind": "Distillation", "name": "conjnli", "uid": "x"}), JobState.TERMINATING),
    ],
)
def test_whose_a_job_is(made: Raw, state: JobState) -> None:
    assert seen_job(made).state is state


def test_a_stage_pod_whose_job_was_deleted_is_orphaned_until_it_ends() -> None:
    assert seen(pods=[pod("Running", {"running": {}})]).orphaned_pods == ("conjnli-train-abcdefgh-2-x",)
    assert seen(pods=[pod("Succeeded", terminated(0))]).orphaned_pods == ()
    assert seen(jobs=[job()], pods=[pod("Running", {"running": {}})]).orphaned_pods == ()


def claim(*modes: str, uid: str = UID, phase: str = "Bound", **metadata: Any) -> Raw:
    return {
        "metadata": {"name": "w", "labels": {"distillery.dev/uid": uid}, **metadata},
        "spec": {"accessModes": list(modes)},
        "status": {"phase": phase},
    }


def test_a_claim_says_whose_it_is_and_how_many_nodes_can_have_it() -> None:
    ours = seen(claim=claim("ReadWriteOnce", "ReadWriteMany")).claim
    assert ours is not None
    assert (ours.ownership, ours.shared, ours.lost) == (Ownership.OURS, True, False)
    foreign = seen(claim=claim("ReadWriteOnce", uid="x", phase="Lost")).claim
    assert foreign is not None
    assert (foreign.ownership, foreign.shared, foreign.lost) == (Ownership.FOREIGN, False, True)
    terminating = seen(claim=claim("ReadWriteOnce", deletionTimestamp=written(NOW))).claim
    assert terminating is not None
    assert terminating.ownership is Ownership.TERMINATING


def deployment(observed: int = 3, progressing: str = "NewReplicaSetAvailable", **counts: int) -> Raw:
    container = {"name": "stage", "image": "trainer:1"}
    return {
        "metadata": {
            "name": "conjnli",
            "generation": 3,
            "ownerReferences": [OWNER],
            "labels": {"distillery.dev/hash": "abcdefgh"},
            "annotations": {
                "distillery.dev/model-path": "train-abcdefgh/model",
                "distillery.dev/student-prompt": "generate-x/student-prompt.txt",
            },
        },
        "spec": {
            "replicas": 2,
            "template": {
                "metadata": {"labels": {"distillery.dev/hash": "abcdefgh"}},
                "spec": {"containers": [{"name": "proxy", "image": "p"}, container]},
            },
        },
        "status": {
            "observedGeneration": observed,
            "conditions": [{"type": "Progressing", "status": "True", "reason": progressing}],
            **counts,
        },
    }


ALL = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("made", "rolled_out"),
    [
        (deployment(**ALL), True),
        (deployment(observed=2, **ALL), False),
        (deployment(**{**ALL, "replicas": 3}), False),
        (deployment(**{**ALL, "updatedReplicas": 1}), False),
        (deployment(**{**ALL, "availableReplicas": 1}), True),
        (deployment(**{**ALL, "availableReplicas": 0}), False),
        (deployment(), False),
    ],
)
def test_a_server_is_rolled_out_when_all_its_pods_are_new_and_one_answers(made: Raw, rolled_out: bool) -> None:
    found = seen(deployment=made).deployment
    assert found is not None
    assert found.rolled_out is rolled_out


def test_a_deployment_says_what_it_serves() -> None:
    found = seen(deployment=deployment(progressing="ProgressDeadlineExceeded", **ALL)).deployment
    assert found is not None
    assert (found.train_hash, found.model_path) == ("abcdefgh", "train-abcdefgh/model")
    assert (found.image, found.desired, found.deadline_exceeded) == ("trainer:1", 2, True)


def server(**status: Any) -> Raw:
    made = pod("Running")
    made["metadata"]["labels"] = {**LABELS, "app.kubernetes.io/component": "serving"}
    made["status"]["containerStatuses"] = [{"name": "stage", "ready": False, **status}]
    return made


def test_a_server_that_ends_again_and_again_says_why_between_two_starts() -> None:
    crashes = server(state={"running": {}}, restartCount=3, lastState=terminated(1, "ValueError: bad model"))
    starved = server(state={"waiting": {}}, restartCount=1, lastState=terminated(137, "", "OOMKilled"))
    found = [seen(deployment=deployment(), pods=[each]).deployment for each in (crashes, starved)]
    assert [each.problem.reason for each in found if each and each.problem] == [
        Reason.ROLLOUT_FAILED,
        Reason.CONTAINER_OOM_KILLED,
    ]
    assert found[0] is not None
    assert found[0].problem is not None
    assert found[0].problem.message == "the server stopped: exit code 1: ValueError: bad model"


def test_a_server_that_answers_again_is_forgiven_its_crashes() -> None:
    recovered = server(state={"running": {}}, ready=True, restartCount=3, lastState=terminated(1, "ValueError"))
    found = seen(deployment=deployment(**ALL), pods=[recovered]).deployment
    assert found is not None
    assert found.problem is None


def test_a_problem_of_an_earlier_students_server_is_not_the_new_ones() -> None:
    old = server(state={"waiting": {"reason": "ErrImagePull", "message": "gone"}})
    old["metadata"]["labels"]["distillery.dev/hash"] = "earlier"
    found = seen(deployment=deployment(), pods=[old]).deployment
    assert found is not None
    assert found.problem is None


def test_a_server_holds_the_volume_once_it_is_on_a_node() -> None:
    on_node, waiting = server(state={"running": {}}), server(state={"waiting": {}})
    del waiting["spec"]["nodeName"]
    assert seen(pods=[on_node]).server_on_node
    assert not seen(pods=[waiting]).server_on_node


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("exceeded quota: gpu, requested: pods=1, used: pods=5, limited: pods=5", Reason.QUEUED),
        ("exceeded quota: gpu, requested: pods=1, used: pods=0, limited: pods=0", Reason.POD_REFUSED),
        ('violates PodSecurity "restricted:latest": privileged', Reason.POD_REFUSED),
    ],
)
def test_a_server_without_a_pod_says_who_refused_it(message: str, reason: Reason) -> None:
    made = deployment()
    made["status"]["conditions"].append({"type": "ReplicaFailure", "status": "True", "message": message})
    found = seen(deployment=made).deployment
    assert found is not None
    assert found.problem == Problem(reason, f"its Pod was refused: {message}")
