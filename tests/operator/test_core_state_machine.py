"""Random lives of a Distillation: whatever happens in whatever order, some things never do."""

from __future__ import annotations

import copy
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distillery_api.reasons import Reason
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Create
from simulated_cluster import SimulatedCluster, owned_by, stage_ended

LEARNING_RATES = st.sampled_from([0.0003, 0.001])
MODELS = st.sampled_from(["big-405b", "other"])


def with_live_pod(
    holds: Callable[[SimulatedCluster], bool] = lambda cluster: True,
) -> Callable[[RuleBasedStateMachine], bool]:
    def check(machine: RuleBasedStateMachine) -> bool:
        cluster: SimulatedCluster = machine.cluster  # type: ignore[attr-defined]
        jobs = cluster.live_jobs()
        pods = [pod for job in jobs for pod in cluster.pods.values() if owned_by(pod, job)]
        return bool(pods) and not jobs[0]["spec"]["suspend"] and holds(cluster)

    return check


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = SimulatedCluster()

    @rule()
    def the_operator_passes(self) -> None:
        self.watch_creations()
        self.cluster.reconcile()

    @rule(writes=st.integers(0, 3))
    def the_operator_dies_in_a_pass(self, writes: int) -> None:
        self.watch_creations()
        self.cluster.reconcile(dies_after=writes)

    def watch_creations(self) -> None:
        """A stage that is recorded as done is never begun again."""
        done = {f"{stage.name}-{stage.input_hash}" for stage in self.cluster.status.stages if stage.completion_time}
        for action in self.cluster.decisions():
            if isinstance(action, Create) and action.manifest["kind"] == "Job":
                folder = action.manifest["metadata"]["name"].removeprefix("conjnli-").rpartition("-")[0]
                assert folder not in done

    @rule()
    def controllers_work(self) -> None:
        self.cluster.collect()

    @rule(seconds=st.sampled_from([1, 9, 60, 700, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.wait(seconds)

    @precondition(with_live_pod())
    @rule()
    def a_pod_starts(self) -> None:
        self.cluster.start()

    @precondition(with_live_pod())
    @rule(reason=st.sampled_from(["ErrImagePull", "CreateContainerConfigError", "ContainerCreating"]))
    def a_pod_waits(self, reason: str) -> None:
        self.cluster.wait_for(reason, "so it is")

    @precondition(with_live_pod())
    @rule()
    def a_stage_is_done(self) -> None:
        self.cluster.finish()

    @precondition(with_live_pod())
    @rule(
        exit_code=st.sampled_from([1, 2, 3, 137, 143]),
        reason=st.sampled_from([None, Reason.TEACHER_UNREACHABLE, Reason.VERIFICATION_FAILED]),
    )
    def a_stage_fails(self, exit_code: int, reason: Reason | None) -> None:
        self.cluster.fail(exit_code, reason)

    @rule(rate=LEARNING_RATES, model=MODELS, image=st.sampled_from(["one:1", "two:2"]), sidecar=st.booleans())
    def the_spec_changes(self, rate: float, model: str, image: str, sidecar: bool) -> None:
        teacher = {"name": "big", "endpoint": "https://teacher.example/v1", "model": model}
        mesh = {"podTemplate": {"spec": {"containers": [{"name": "mesh", "image": "mesh:1"}]}}} if sidecar else {}
        training = {**self.cluster.spec.get("training", {}), "learningRate": rate, "podTemplate": {}, **mesh}
        generation = {"teachers": [teacher], "image": image, **mesh}
        self.cluster.change(training=training, generation=generation)

    @rule(suspend=st.booleans(), mode=st.sampled_from(["Deployment", "None"]), replicas=st.integers(0, 1))
    def serving_or_suspension_changes(self, suspend: bool, mode: str, replicas: int) -> None:
        self.cluster.change(
            suspend=suspend, serving={**self.cluster.spec["serving"], "mode": mode, "replicas": replicas}
        )

    @rule()
    def a_person_requests_a_retry(self) -> None:
        self.cluster.request_retry()

    @precondition(lambda self: ("Deployment", "conjnli") in self.cluster.objects)
    @rule()
    def the_server_answers(self) -> None:
        self.cluster.serve()

    @rule(image=st.sampled_from(["mine:1", "mine:2"]))
    def the_server_of_the_spec_changes(self, image: str) -> None:
        self.cluster.change(serving={**self.cluster.spec["serving"], "image": image})

    @rule(run=st.sampled_from([None, "nxevyml5", "unknown"]))
    def a_person_pins_a_run(self, run: str | None) -> None:
        self.cluster.change(serving={**self.cluster.spec["serving"], "pinnedRun": run})

    @rule(image=st.sampled_from(["distillery-trainer:1", "distillery-trainer:2"]))
    def the_operator_is_upgraded_and_replaces_no_server_by_itself(self, image: str) -> None:
        for _ in range(2):
            self.the_operator_passes()
        before = self.deployed_server()
        self.cluster.install(trainer_image=image)
        self.the_operator_passes()
        assert before in (None, self.deployed_server())

    def deployed_server(self) -> str | None:
        deployment = self.cluster.objects.get(("Deployment", "conjnli"))
        return deployment["metadata"]["annotations"]["distillery.dev/digest"] if deployment else None

    @precondition(lambda self: ("Deployment", "conjnli") in self.cluster.objects)
    @rule(ready=st.booleans())
    def a_new_server_waits_for_its_image(self, ready: bool) -> None:
        self.cluster.roll_out(None if ready else {"reason": "ErrImagePull", "message": "not found"}, ready=ready)

    @precondition(lambda self: ("Deployment", "conjnli") in self.cluster.objects)
    @rule()
    def the_server_dies(self) -> None:
        self.cluster.serve(ready=0)

    @precondition(lambda self: self.cluster.jobs())
    @rule(data=st.data())
    def somebody_deletes_a_job(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.cluster.jobs()))
        self.cluster.objects["Job", name]["metadata"]["deletionTimestamp"] = "2026-11-25T12:00:00Z"

    @invariant()
    def one_pod_works_in_the_workspace(self) -> None:
        assert len(self.is_active()) <= 1, self.is_active()

    def is_active(self) -> list[str]:
        pods = {name: pod for name, pod in self.cluster.pods.items() if not stage_ended(pod)}
        return [name for name, pod in pods.items() if pod["status"]["phase"] in ("Pending", "Running")]

    @invariant()
    def only_a_verified_student_is_ready_or_available(self) -> None:
        serving = self.cluster.status.serving
        verified = serving is not None and serving.verification is not None
        assert verified or self.cluster.truth(ConditionType.AVAILABLE) != "True"
        # Nobody can ask a student that is scaled to zero.
        if self.cluster.truth(ConditionType.READY) == "True" and serving and serving.replicas:
            assert verified
            assert self.cluster.truth(ConditionType.VERIFIED) == "True"

    @invariant()
    def one_job_lives(self) -> None:
        live = [job["metadata"]["name"] for job in self.cluster.live_jobs()]
        assert len(live) <= 1, live

    @invariant()
    def conditions_do_not_contradict_each_other(self) -> None:
        truth = self.cluster.truth
        assert not (truth(ConditionType.RECONCILING) and truth(ConditionType.STALLED))
        if truth(ConditionType.READY) == "True":
            assert not truth(ConditionType.RECONCILING)
            assert not truth(ConditionType.STALLED)
            assert not truth(ConditionType.SUSPENDED)
        explained = ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED
        if truth(ConditionType.READY) in ("False", "Unknown"):
            assert sum(truth(kind) == "True" for kind in explained) == 1

    @invariant()
    def the_status_names_every_living_job_of_the_present_inputs(self) -> None:
        recorded = {record.job for record in self.cluster.status.stages}
        planned = {planned.folder for planned in self.cluster.plan.stages}
        for name in (job["metadata"]["name"] for job in self.cluster.live_jobs()):
            if name.removeprefix("conjnli-").rpartition("-")[0] in planned:
                assert name in recorded or self.cluster.status.observed_generation != self.cluster.generation

    @rule()
    def passes_without_news_come_to_rest(self) -> None:
        """The second may see what the first has done; the third writes nothing."""
        self.the_operator_passes()
        self.the_operator_passes()
        before = copy.deepcopy((self.cluster.status, self.cluster.objects))
        self.the_operator_passes()
        assert (self.cluster.status, self.cluster.objects) == before

    def teardown(self) -> None:
        """Left alone, with a patient and lucky cluster, every life comes to rest."""
        cluster = self.cluster
        # Without a Pod, nobody can verify the student.
        cluster.change(suspend=False, serving={**cluster.spec["serving"], "replicas": 1, "pinnedRun": None})
        cluster.wait(1)  # the annotation of the same second would be no new request
        cluster.request_retry()
        for _ in range(12):
            cluster.settle()
            if cluster.live_jobs():
                cluster.start()
                cluster.finish()
            if ("Deployment", "conjnli") in cluster.objects:
                cluster.serve()
            cluster.wait(400)
        assert cluster.truth(ConditionType.READY) == "True", cluster.status
        cluster.wait(86_400)
        cluster.settle()
        assert (cluster.jobs(), cluster.pods) == ([], {}), "a Job, or a sidecar, stays for ever"


class LifeWithOneGpu(Life):
    """Training, evaluation and server share the GPU of one node."""

    def __init__(self) -> None:
        super().__init__()
        gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
        self.cluster = SimulatedCluster(training=gpu, evaluation=gpu, serving=gpu)

    @rule()
    def the_servers_pod_follows_its_deployment(self) -> None:
        deployment = self.cluster.objects.get(("Deployment", "conjnli"))
        if deployment and deployment["spec"]["replicas"]:
            self.cluster.start_server()
        elif deployment and "conjnli-server" in self.cluster.pods:
            self.cluster.stop_server()
        elif deployment is None:
            self.cluster.pods.pop("conjnli-server", None)

    def is_active(self) -> list[str]:
        return [name for name in super().is_active() if name != "conjnli-server"]

    @precondition(lambda self: self.cluster.truth(ConditionType.STALLED))
    @rule()
    def a_stalled_run_leaves_the_server_up(self) -> None:
        self.cluster.settle()
        if self.cluster.truth(ConditionType.STALLED):
            assert deployment_replicas(self.cluster) == self.cluster.plan.spec.serving.replicas

    def teardown(self) -> None:
        super().teardown()
        assert deployment_replicas(self.cluster) == 1


def deployment_replicas(cluster: SimulatedCluster) -> int:
    deployment = cluster.objects.get(("Deployment", "conjnli"))
    return deployment["spec"]["replicas"] if deployment else cluster.plan.spec.serving.replicas


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLifeWithOneGpu = LifeWithOneGpu.TestCase
TestLifeWithOneGpu.settings = settings(TestLife.settings, max_examples=12)
