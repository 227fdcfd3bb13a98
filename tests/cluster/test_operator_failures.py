"""What befalls a stage, and what the status then says: the cause in words, and whether a person is needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]

WRONG_KEY = {"exit": 2, "reason": "TeacherRejected", "message": "HTTP 401 from the teacher: the key is not accepted"}
UNREACHABLE = {"exit": 3, "reason": "TeacherUnreachable", "message": "no answer from the teacher after 6 tries"}
CRASH = {"exit": 1, "silent": True, "says": "RuntimeError: size mismatch"}


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def test_an_error_of_the_user_stalls_at_once_with_the_stages_own_words(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(script={"generate": [WRONG_KEY]})
    distilled.wait("Stalled", reason="TeacherRejected")

    assert distilled.message() == "generate: HTTP 401 from the teacher: the key is not accepted"
    assert distilled.conditions["Ready"] == ("False", "TeacherRejected")
    assert distilled.conditions["DataGenerated"] == ("False", "TeacherRejected")
    assert "Reconciling" not in distilled.conditions
    assert len(distilled.jobs()) == 1
    assert [each["type"] for each in distilled.events()][-1] == "Warning"


def test_a_failed_stage_runs_again_when_the_annotation_asks_for_it(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(script={"generate": [WRONG_KEY]})
    distilled.wait("Stalled")

    distilled.kubectl("annotate", "distillation", "small", "distillery.dev/retry-at=2026-11-25T12:00:00Z")
    distilled.wait_ready()

    assert distilled.status["lastHandledRetryAt"] == "2026-11-25T12:00:00Z"
    assert distilled.stage("generate")["attempts"] == 2


def test_a_failed_stage_runs_again_when_what_it_is_given_changes(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(script={"generate": [WRONG_KEY]})
    distilled.wait("Stalled")

    distilled.patch({"generation": {"concurrency": 8}})
    distilled.wait_ready()
    assert distilled.stage("generate")["attempts"] == 2


def test_a_teacher_that_is_unreachable_is_tried_again_later(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator(DISTILLERY_RETRY_FIRST_DELAY="3s", DISTILLERY_RETRY_LONGEST_DELAY="3s")
    distilled.apply(script={"generate": [UNREACHABLE]})
    distilled.wait("Reconciling", reason="ProgressingWithRetry")

    assert "attempt 1 failed (TeacherUnreachable): no answer from the teacher after 6 tries" in distilled.message()
    assert "Stalled" not in distilled.conditions
    distilled.wait_ready()
    assert distilled.stage("generate")["attempts"] == 2
    assert len(distilled.jobs("generate")) == 2


def test_patience_with_an_absent_teacher_ends_at_the_deadline(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator(DISTILLERY_RETRY_DEADLINE="3s")
    distilled.apply(script={"generate": [UNREACHABLE] * 20})
    distilled.wait("Stalled", reason="TeacherUnreachable")

    assert 2 <= distilled.stage("generate")["attempts"] <= 5


def test_a_crash_shows_the_last_line_of_the_log_and_is_tried_again(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator(DISTILLERY_RETRY_FIRST_DELAY="3s", DISTILLERY_RETRY_LONGEST_DELAY="3s")
    distilled.apply(script={"train": [CRASH]})
    distilled.wait("Reconciling", reason="ProgressingWithRetry")

    assert "(TrainingFailed): exit code 1: RuntimeError: size mismatch" in distilled.message()
    distilled.wait_ready()
    assert [stage["attempts"] for stage in distilled.status["stages"]] == [1, 2, 1, 1]


def test_too_little_memory_is_named(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator(DISTILLERY_RETRY_DEADLINE="2s", DISTILLERY_RETRY_FIRST_DELAY="3s")
    scripted_node.fail_start(f"{distilled.namespace}/small-train-*", times=9)
    distilled.apply(small_spec(training={"resources": {"limits": {"memory": "256Mi", "cpu": "1"}}}))
    distilled.wait("Stalled", reason="ContainerOOMKilled")

    assert "memory limit of 256Mi (OOMKilled); raise resources.limits.memory" in distilled.message()


def test_an_evicted_pod_is_replaced_without_a_new_attempt(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator()
    distilled.apply(script={"train": [{"waits": True}, {}]})
    claim = distilled.wait("DataGenerated")["status"]["workspaceClaim"]
    workspace = scripted_node.volume(distilled.namespace, claim)
    wait_until(lambda: list(workspace.glob("train-*/running")), 40, "training")

    scripted_node.evict(f"{distilled.namespace}/small-train-*")
    distilled.wait_ready()
    assert distilled.stage("train")["attempts"] == 1
    assert len(distilled.jobs("train")) == 1


def test_an_image_that_cannot_be_pulled_is_named_at_once_and_stalls_after_a_while(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator(DISTILLERY_BLOCKED_DEADLINE="4s")
    fault = scripted_node.fail_pull(f"{distilled.namespace}/*")
    distilled.apply()
    distilled.wait("Reconciling", reason="ImagePullError")
    assert "the image distillery-trainer:scripted cannot be pulled" in distilled.message()

    distilled.wait("Stalled", reason="ImagePullError")
    fault.lift()
    distilled.wait_ready(90)
    assert distilled.stage("generate")["attempts"] == 1


def test_a_missing_secret_is_named_and_found_once_it_is_there(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    spec = small_spec()
    spec["generation"]["teachers"][0]["apiKey"] = {"secretName": "teacher"}
    distilled.apply(spec)
    distilled.wait("Reconciling", reason="ConfigurationMissing")
    wait_until(lambda: 'secret "teacher" not found' in distilled.message(), 30, "the Secret to be named")

    distilled.kubectl("create", "secret", "generic", "teacher", "--from-literal=api-key=s3cret")
    distilled.wait_ready(90)
    everything = str(distilled.get()) + str(distilled.events()) + str(distilled.children("configmaps"))
    assert "s3cret" not in everything


def test_too_few_gpus_in_the_cluster_are_named_and_waited_for(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator(DISTILLERY_BLOCKED_DEADLINE="2s")
    distilled.apply(small_spec(training={"resources": {"limits": {"nvidia.com/gpu": 4}}}))
    distilled.wait("Reconciling", reason="Unschedulable")

    assert "Insufficient nvidia.com/gpu" in distilled.message()
    wait_until(lambda: distilled.stage("train").get("job"), what="the Job")
    assert "Stalled" not in distilled.conditions
    scripted_node.set_gpus(4)
    try:
        distilled.wait_ready(90)
    finally:
        scripted_node.set_gpus(1)


def test_a_service_of_somebody_else_is_never_taken_over(
    distilled: Distilled, start_operator: StartOperator, control_plane: Cluster
) -> None:
    start_operator()
    distilled.kubectl("create", "service", "clusterip", "small", "--tcp=80:80")
    before = control_plane.get("service", "small", distilled.namespace)
    distilled.apply()
    distilled.wait("Stalled", reason="NameConflict")

    assert "the Service small already exists and belongs to something else" in distilled.message()
    assert control_plane.get("service", "small", distilled.namespace) == before
    assert distilled.jobs() == []


def test_a_job_of_somebody_else_is_never_taken_over(distilled: Distilled, start_operator: StartOperator) -> None:
    operator = start_operator()
    distilled.apply(script={"generate": [WRONG_KEY]})
    distilled.wait("Stalled", reason="TeacherRejected")
    operator.terminate()
    next_job = distilled.jobs()[0][:-1] + "2"
    distilled.kubectl("create", "job", next_job, "--image=nobody/knows", "--", "true")

    operator.start()
    distilled.kubectl("annotate", "distillation", "small", "distillery.dev/retry-at=now")
    distilled.wait("Stalled", reason="NameConflict")
    assert f"the Job {next_job} already exists and belongs to something else" in distilled.message()

    distilled.kubectl("delete", "job", next_job)
    distilled.kubectl("annotate", "distillation", "small", "distillery.dev/retry-at=later", "--overwrite")
    distilled.wait_ready()


def test_an_exceeded_quota_is_reported_in_the_servers_words(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.kubectl("create", "quota", "none", "--hard=persistentvolumeclaims=0")
    wait_until(lambda: distilled.cluster.get("quota", "none", distilled.namespace)["status"]["hard"], what="the quota")
    distilled.apply()
    stalled = distilled.wait("Stalled", reason="PodRefused")

    assert "exceeded quota: none" in distilled.message()
    assert distilled.jobs() == []
    assert stalled["status"]["conditions"] == distilled.status["conditions"]


def test_a_quota_that_others_use_up_is_a_queue(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.kubectl("create", "quota", "full", "--hard=count/jobs.batch=1")
    distilled.kubectl("create", "job", "other", "--image=nobody/knows", "--", "true")
    used = {"count/jobs.batch": "1"}
    wait_until(lambda: distilled.cluster.get("quota", "full", distilled.namespace)["status"]["used"] == used, 20)
    distilled.apply()
    distilled.wait("Reconciling", reason="Queued")
    assert "exceeded quota: full, requested: count/jobs.batch=1" in distilled.message()
    assert "Stalled" not in distilled.conditions

    distilled.kubectl("delete", "job", "other")
    distilled.kubectl("delete", "quota", "full")
    distilled.wait("DataGenerated")


def test_a_crash_looping_server_is_reported_with_its_own_message(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator(DISTILLERY_BLOCKED_DEADLINE="3s")
    distilled.apply(small_spec(serving={"runtime": "Transformers", "resources": {"limits": {"memory": "1Gi"}}}))
    wait_until(lambda: distilled.children("pods", "serving"), 60, "a serving Pod")
    name = distilled.children("pods", "serving")[0]["metadata"]["name"]
    fault = scripted_node.fail_start(f"{distilled.namespace}/{name}", times=99)
    wait_until(lambda: _kill(scripted_node, f"{distilled.namespace}/{name}"), 30, "the server to run")

    distilled.wait("Stalled", reason="ContainerOOMKilled", seconds=90)
    assert "the server stopped" in distilled.message()
    fault.lift()


def _kill(node: ProcessNode, pattern: str) -> bool:
    try:
        node.oom_kill(pattern)
    except LookupError:
        return False
    return True
