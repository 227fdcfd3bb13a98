"""Random lives of a Job in a queue: whoever stops it, and wherever the operator dies, nobody is fought."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Merge
from simulated_cluster import SimulatedCluster, ended
from simulated_kueue import SimulatedKueue

GENERATE_JOB = "conjnli-generate-khmqypiu-1"


def has_workload(machine: QueuedLife) -> bool:
    jobs = [each for (kind, _), each in machine.cluster.objects.items() if kind == "Job" and not ended(each)]
    return bool(jobs) and any(kind == "Workload" for kind, _ in machine.cluster.objects)


class QueuedLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = SimulatedCluster(queue={"name": "team"})
        self.kueue = SimulatedKueue(self.cluster)
        self.made_inactive = False
        """Whether a person has made the Workload inactive, and not active again."""

    @rule()
    def the_operator_passes(self) -> None:
        self.watch_patches()
        self.cluster.reconcile()

    @rule(writes=st.integers(0, 3))
    def the_operator_dies_in_a_pass(self, writes: int) -> None:
        self.watch_patches()
        self.cluster.reconcile(dies_after=writes)

    def watch_patches(self) -> None:
        """Where Kueue has a Workload, the Job's `suspend` is left to it."""
        patches = [action for action in self.cluster.decisions() if isinstance(action, Merge)]
        if has_workload(self):
            assert not any(patch.kind == "Job" for patch in patches)
        if self.made_inactive:
            assert not any(patch.kind == "Workload" for patch in patches)

    @rule()
    def controllers_work(self) -> None:
        self.cluster.collect()

    @rule()
    def kueue_works(self) -> None:
        self.kueue.pass_by()

    @rule(seconds=st.sampled_from([1, 60, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.wait(seconds)

    @precondition(lambda self: has_workload(self) and self.kueue.workload["spec"]["active"])
    @rule()
    def kueue_admits_the_job(self) -> None:
        self.kueue.admit()

    @precondition(has_workload)
    @rule()
    def kueue_preempts_the_job(self) -> None:
        self.kueue.preempt()

    @precondition(lambda self: has_workload(self) and self.kueue.workload["spec"]["active"])
    @rule()
    def a_person_makes_the_workload_inactive(self) -> None:
        self.kueue.deactivate("Deactivated", "The workload is deactivated")
        self.made_inactive = True

    @precondition(lambda self: self.made_inactive)
    @rule()
    def a_person_makes_the_workload_active(self) -> None:
        self.kueue.workload["spec"]["active"] = True
        self.made_inactive = False

    @rule(suspend=st.booleans())
    def a_person_suspends_or_resumes_the_distillation(self, suspend: bool) -> None:
        self.cluster.change(suspend=suspend)

    @invariant()
    def waiting_uses_no_attempt(self) -> None:
        jobs = self.cluster.jobs()
        assert jobs in ([], [GENERATE_JOB])
        assert all(record.attempts == 1 for record in self.cluster.status.stages)

    @invariant()
    def no_state_is_both_or_neither(self) -> None:
        truths = [self.cluster.truth(kind) for kind in (ConditionType.RECONCILING, ConditionType.STALLED)]
        assert truths != ["True", "True"]

    def teardown(self) -> None:
        """Whatever happened, the stage runs and is done once all want it to."""
        cluster, kueue = self.cluster, self.kueue
        cluster.change(suspend=False)
        self.settle()
        if self.made_inactive:
            assert not kueue.workload["spec"]["active"]
            assert cluster.reason() == "Queued"
            self.a_person_makes_the_workload_active()
            self.settle()
        kueue.admit()
        self.settle()
        cluster.start()
        cluster.finish()
        cluster.settle()
        assert cluster.record(Stage.GENERATE).completion_time
        assert cluster.record(Stage.GENERATE).attempts == 1

    def settle(self) -> None:
        """Passes of all until nothing changes any more."""
        for _ in range(3):
            self.cluster.settle()
            self.kueue.pass_by()
        self.cluster.settle()


TestQueuedLife = QueuedLife.TestCase
TestQueuedLife.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
