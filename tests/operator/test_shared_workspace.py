"""Several Distillations share one claim: a stage whose folder another one uses waits, whatever the time."""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_cluster import SimulatedCluster

IN_USE = "Another stage is using the folder train-1 of the workspace (train-1 of other on node-2)."


def test_a_folder_in_use_is_waited_for_and_nothing_has_failed() -> None:
    cluster = SimulatedCluster()
    cluster.run_stages(Stage.GENERATE)
    for _ in range(30):
        cluster.start()
        cluster.fail(3, Reason.WORKSPACE_IN_USE, IN_USE)
        cluster.settle()
        condition = cluster.condition(ConditionType.RECONCILING)
        assert condition is not None
        assert (condition.reason, condition.message) == ("Queued", f"train: {IN_USE}")
        assert cluster.record(Stage.TRAIN).failing_since is None
        cluster.wait(300)
        cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert cluster.truth(ConditionType.TRAINED) == "True"
