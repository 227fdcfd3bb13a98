"""With the strategy Manual, a person promotes each new run before it is served."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.evaluation import Evaluation as Table
from distillery_api.evaluation import Score
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_cluster import SimulatedCluster

READY, AVAILABLE, SUSPENDED = ConditionType.READY, ConditionType.AVAILABLE, ConditionType.SUSPENDED
MANUAL = {"runtime": "Transformers", "rollout": {"strategy": "Manual"}}
FIRST = "nxevyml5"
PROMOTE = "distillery.dev/promote"


def evaluated(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(serving=MANUAL, **changes)
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE)
    return cluster


def served() -> SimulatedCluster:
    cluster = evaluated()
    cluster.annotations[PROMOTE] = FIRST
    cluster.run_stages(Stage.VERIFY)
    return cluster


def message(cluster: SimulatedCluster) -> str:
    found = cluster.condition(READY)
    assert found is not None
    return found.message


def test_a_first_student_waits_for_its_promotion_and_says_how() -> None:
    cluster = evaluated()
    assert cluster.decisions() == ()
    assert (cluster.truth(READY), cluster.reason(), cluster.truth(SUSPENDED)) == ("False", "AwaitingPromotion", "True")
    assert (cluster.truth(ConditionType.RECONCILING), cluster.truth(ConditionType.STALLED)) == (None, None)
    assert message(cluster) == (
        f"the student of run {FIRST} is evaluated and waits to be promoted: kubectl -n team-a annotate distill conjnli"
        f" distillery.dev/promote={FIRST} --overwrite; no student is served until then"
    )
    assert (cluster.status.progress, cluster.requeue_after()) == ("awaiting promotion", None)


def test_a_promoted_student_is_rolled_out_and_verified() -> None:
    cluster = served()
    assert (cluster.truth(READY), cluster.truth(SUSPENDED)) == ("True", None)


def test_the_next_student_waits_while_the_one_before_serves() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    newest = cluster.plan.stage(Stage.TRAIN).input_hash
    assert (cluster.reason(), cluster.truth(AVAILABLE), cluster.decisions()) == ("AwaitingPromotion", "True", ())
    assert message(cluster).endswith(f"; train-{FIRST}/model serves until then")
    assert cluster.status.history[0].train == newest
    cluster.annotations[PROMOTE] = newest
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), cluster.status.serving and cluster.status.serving.train) == ("True", newest)


def test_what_serves_needs_its_annotation_no_longer_and_follows_the_spec() -> None:
    cluster = served()
    del cluster.annotations[PROMOTE]
    cluster.change(serving={**MANUAL, "image": "mine:2"})
    cluster.run_stages(Stage.VERIFY)
    assert cluster.truth(READY) == "True"
    assert cluster.objects["Deployment", "conjnli"]["spec"]["template"]["spec"]["containers"][0]["image"] == "mine:2"


@pytest.mark.parametrize("promoted", ["", "aaaaaaaa", f"train-{FIRST}"])
def test_another_promotion_promotes_nothing(promoted: str) -> None:
    cluster = evaluated()
    cluster.annotations[PROMOTE] = promoted
    cluster.settle()
    assert (cluster.reason(), cluster.decisions()) == ("AwaitingPromotion", ())


def test_a_student_that_fails_the_gate_cannot_be_promoted() -> None:
    cluster = SimulatedCluster(serving=MANUAL, evaluation={"gate": {"minScore": 0.95}})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=Table(sample_size=150, student=Score(score=0.9)))
    cluster.settle()
    cluster.annotations[PROMOTE] = FIRST
    cluster.settle()
    assert cluster.reason() == "QualityGateFailed"


def test_an_earlier_run_can_be_pinned_without_a_promotion() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    cluster.change(serving={**MANUAL, "pinnedRun": FIRST})
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(SUSPENDED)) == ("True", None)


def test_recreate_stops_the_old_pods_first_also_on_a_shared_volume() -> None:
    recreate = {"runtime": "Transformers", "rollout": {"strategy": "Recreate"}}
    cluster = SimulatedCluster(serving=recreate, storage={"accessModes": ["ReadWriteMany"]})
    cluster.run_stages(*Stage)
    assert cluster.objects["Deployment", "conjnli"]["spec"]["strategy"] == {"type": "Recreate"}
    before = cluster.objects["Deployment", "conjnli"]["spec"]["template"]
    cluster.change(serving={"runtime": "Transformers"})
    cluster.settle()
    assert cluster.objects["Deployment", "conjnli"]["spec"]["strategy"]["type"] == "RollingUpdate"
    assert (cluster.objects["Deployment", "conjnli"]["spec"]["template"], cluster.truth(READY)) == (before, "True")
