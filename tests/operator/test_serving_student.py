"""A new student beside the one that is served: what evaluate is told, what the gate makes of it, and what is asked
again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distillery_api.evaluation import Evaluation, GateVerdict, Score, ServingComparison
from distillery_api.spec import Gate
from distillery_api.stage import Stage
from distillery_api.status import ConditionType, DistillationStatus
from distillery_operator.core.gate import gate_verdict
from simulated_cluster import SimulatedCluster

FIRST = "train-nxevyml5/model"
NOT_WORSE: dict[str, Any] = {"gate": {}}


def verdict(
    gate: dict[str, Any], score: float, serving: float | None, p_value: float | None, **comparison: Any
) -> GateVerdict:
    table = Evaluation(
        sample_size=150,
        student=Score(score=score),
        serving=None if serving is None else Score(score=serving),
        serving_comparison=ServingComparison(hash="old", p_value=p_value, **comparison),
    )
    return gate_verdict(Gate.model_validate(gate), table, "old")


@pytest.mark.parametrize(
    ("wanted", "score", "serving", "p_value", "met", "message"),
    [
        ("NotWorse", 0.6, 0.7, 0.04, False, "significantly worse {}, old (0.6 against 0.7, p = 0.04)"),
        ("NotWorse", 0.6, 0.7, 0.05, True, "not significantly worse {}, old (0.6 against 0.7, p = 0.05)"),
        ("NotWorse", 0.7, 0.7, 1.0, True, "not significantly worse {}, old (0.7 against 0.7, p = 1)"),
        ("NotWorse", 0.8, 0.7, 0.001, True, "significantly better {}, old (0.8 against 0.7, p = 0.001)"),
        ("Better", 0.8, 0.7, 0.04, True, "significantly better {}, old (0.8 against 0.7, p = 0.04)"),
        ("Better", 0.8, 0.7, 0.05, False, "not significantly better {}, old (0.8 against 0.7, p = 0.05)"),
        ("Better", 0.7, 0.7, 1.0, False, "not significantly better {}, old (0.7 against 0.7, p = 1)"),
        ("Better", 0.6, 0.7, 0.001, False, "not significantly better {}, old (0.6 against 0.7, p = 0.001)"),
    ],
)
def test_the_verdict_follows_from_the_test_of_significance(
    wanted: str, score: float, serving: float, p_value: float, met: bool, message: str
) -> None:
    expected = message.format("than the student that is served")
    assert verdict({"againstServing": wanted}, score, serving, p_value) == GateVerdict(met=met, message=expected)


def test_what_could_not_be_compared_does_not_pass_and_says_how_to_go_on() -> None:
    assert verdict({}, 0.9, None, None, problem="its model is gone") == GateVerdict(
        met=False,
        message="not compared with the student that is served, old: its model is gone; restore it and retry, or set"
        " evaluation.gate.againstServing to Ignore to do without a comparison",
    )
    assert gate_verdict(Gate(), Evaluation(sample_size=3, student=Score(score=1)), "old").met is False


def test_ignoring_the_served_student_compares_nothing() -> None:
    assert verdict({"againstServing": "Ignore", "minScore": 0.5}, 0.6, 0.7, 0.001).met


def served(**changes: Any) -> SimulatedCluster:
    """A cluster whose first student is served and verified."""
    cluster = SimulatedCluster(**{"evaluation": NOT_WORSE, **changes})
    cluster.run_stages(*Stage)
    assert cluster.reason() == "Serving"
    return cluster


def with_second_student(cluster: SimulatedCluster, **comparison: Any) -> SimulatedCluster:
    """The same with a second student that is evaluated, and compares with the first like this."""
    cluster.comparison = comparison or cluster.comparison
    cluster.change(training={"seed": 7})
    cluster.settle()
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    return cluster


def worse(**changes: Any) -> SimulatedCluster:
    """A cluster whose second student is significantly worse than the first, which is served."""
    cluster = served(**changes)
    cluster.serving_score = 0.97
    return with_second_student(cluster, better=2, worse=20, p_value=0.0001)


def not_compared() -> SimulatedCluster:
    """A cluster whose second student misses a bound, and was not compared with the first, which is served."""
    cluster = served()
    cluster.change(evaluation={"gate": {"minScore": 0.95, "againstServing": "Ignore"}})
    return with_second_student(cluster)


def model(cluster: SimulatedCluster) -> str:
    deployment = cluster.objects["Deployment", "conjnli"]
    return str(deployment["metadata"]["annotations"]["distillery.dev/model-path"])


def configured(cluster: SimulatedCluster, stage: Stage = Stage.EVALUATE) -> Any:
    """The student that the stage's configuration names."""
    name = f"conjnli-{cluster.plan.stage(stage).folder}"
    return json.loads(cluster.objects["ConfigMap", name]["data"]["run.json"]).get("servingStudent")


def test_evaluate_alone_knows_which_student_is_served_and_where_it_lies() -> None:
    cluster = served()
    generate, _, evaluate = (planned.folder for planned in cluster.plan.stages[:3])
    with_second_student(cluster)
    folders = {"generate": generate, "train": "train-nxevyml5", "evaluate": evaluate}
    assert configured(cluster) == {"hash": "nxevyml5", "folders": folders}
    assert configured(cluster, Stage.TRAIN) is None
    assert cluster.record(Stage.EVALUATE).compared_with == "nxevyml5"


def test_a_running_evaluation_keeps_the_student_that_it_is_compared_with() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.settle()
    cluster.run_stages(Stage.TRAIN)
    cluster.start()
    cluster.settle()
    assert configured(cluster)["hash"] == "nxevyml5"
    cluster.delete("ConfigMap", f"conjnli-{cluster.plan.stage(Stage.EVALUATE).folder}")
    cluster.settle()
    assert configured(cluster)["hash"] == "nxevyml5"


@pytest.mark.parametrize("evaluation", [{}, {"gate": {"minScore": 0.1, "againstServing": "Ignore"}}])
def test_without_a_comparison_in_the_gate_it_knows_of_none(evaluation: dict[str, Any]) -> None:
    cluster = with_second_student(served(evaluation=evaluation))
    assert (configured(cluster), cluster.record(Stage.EVALUATE).compared_with) == (None, None)
    assert model(cluster) == cluster.plan.model_path


def test_a_student_that_is_not_worse_takes_over_and_is_not_compared_with_itself() -> None:
    cluster = with_second_student(served())
    assert model(cluster) == cluster.plan.model_path != FIRST
    cluster.serve()
    cluster.run_stages(Stage.VERIFY)
    assert cluster.reason() == "Serving"
    assert cluster.record(Stage.EVALUATE).attempts == 1


def test_a_student_that_is_worse_is_not_rolled_out() -> None:
    cluster = worse()
    assert model(cluster) == FIRST
    assert cluster.reason(ConditionType.STALLED) == "QualityGateFailed"
    assert cluster.truth(ConditionType.AVAILABLE) == "True"
    table = cluster.status.evaluation
    assert table is not None
    assert table.gate is not None
    assert table.gate.message == (
        "significantly worse than the student that is served, nxevyml5 (0.9 against 0.97, p = 0.0001)"
    )
    assert table.serving == Score(score=0.97)


def test_ignoring_the_served_student_rolls_the_worse_one_out_at_once() -> None:
    cluster = worse()
    cluster.change(evaluation={"gate": {"againstServing": "Ignore"}})
    cluster.settle()
    assert model(cluster) == cluster.plan.model_path != FIRST
    assert cluster.record(Stage.EVALUATE).attempts == 1


def test_a_comparison_that_is_wanted_later_is_one_more_attempt_of_evaluate() -> None:
    cluster = not_compared()
    assert cluster.reason() == "QualityGateFailed"
    cluster.change(evaluation=NOT_WORSE)
    cluster.settle()
    assert cluster.reason() == "Evaluating"
    assert cluster.truth(ConditionType.AVAILABLE) == "True"
    assert model(cluster) == FIRST
    assert (cluster.record(Stage.EVALUATE).attempts, configured(cluster)["hash"]) == (2, "nxevyml5")
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert model(cluster) == cluster.plan.model_path != FIRST
    assert len(cluster.status.history) == 2


def test_where_the_model_is_gone_nothing_is_rolled_out_until_it_is_restored_and_retried() -> None:
    cluster = with_second_student(served(), problem="its model cannot be loaded: the folder does not exist")
    assert (model(cluster), cluster.reason()) == (FIRST, "QualityGateFailed")
    cluster.comparison = {"better": 3, "worse": 3, "p_value": 1.0}
    cluster.wait(60)
    cluster.request_retry()
    cluster.run_stages(Stage.EVALUATE)
    assert model(cluster) == cluster.plan.model_path != FIRST


def test_an_image_that_cannot_compare_is_tried_once() -> None:
    cluster = served()
    cluster.comparison = None
    with_second_student(cluster)
    assert (model(cluster), cluster.reason()) == (FIRST, "QualityGateFailed")
    assert cluster.record(Stage.EVALUATE).attempts == 1


def test_a_lost_status_rolls_no_worse_student_out() -> None:
    cluster = worse()
    cluster.status = DistillationStatus()
    cluster.settle()
    assert (model(cluster), cluster.reason()) == (FIRST, "QualityGateFailed")


def test_a_deleted_server_comes_back_with_the_earlier_student() -> None:
    cluster = worse()
    before = cluster.objects["Deployment", "conjnli"]["spec"]["template"]
    cluster.delete("Deployment", "conjnli")
    cluster.settle()
    assert (model(cluster), cluster.reason()) == (FIRST, "QualityGateFailed")
    assert cluster.objects["Deployment", "conjnli"]["spec"]["template"] == before
    cluster.serve()
    cluster.settle()
    assert cluster.truth(ConditionType.AVAILABLE) == "True"


def test_a_deleted_server_comes_back_while_a_new_student_is_made() -> None:
    cluster = served(evaluation={})
    cluster.change(training={"seed": 7})
    cluster.settle()
    cluster.delete("Deployment", "conjnli")
    cluster.settle()
    assert model(cluster) == FIRST
    cluster.serve()
    cluster.settle()
    assert cluster.truth(ConditionType.AVAILABLE) == "True"


def test_while_suspended_nothing_is_compared() -> None:
    cluster = not_compared()
    cluster.change(evaluation=NOT_WORSE, suspend=True)
    cluster.settle()
    assert (cluster.reason(), cluster.record(Stage.EVALUATE).attempts) == ("Suspended", 1)
    cluster.change(suspend=False)
    cluster.run_stages(Stage.EVALUATE)
    assert model(cluster) == cluster.plan.model_path != FIRST


def test_a_pin_compares_nothing_anew_and_its_end_does() -> None:
    cluster = with_second_student(served(), better=20, worse=2, p_value=0.0001)
    cluster.run_stages(Stage.VERIFY)
    cluster.change(training={"seed": 8})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    created = len(cluster.created)
    cluster.change(serving={"runtime": "Transformers", "pinnedRun": "nxevyml5"})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (model(cluster), cluster.reason(), cluster.created[created:]) == (FIRST, "Serving", [])
    cluster.change(serving={"runtime": "Transformers"})
    cluster.settle()
    evaluate = cluster.plan.stage(Stage.EVALUATE).folder
    assert (model(cluster), cluster.created[created:]) == (FIRST, [f"conjnli-{evaluate}-2"])


def test_a_failed_comparison_that_is_not_wanted_any_more_is_not_in_the_way() -> None:
    cluster = not_compared()
    cluster.change(evaluation=NOT_WORSE)
    cluster.settle()
    cluster.start()
    cluster.fail(2, message="the earlier model cannot be loaded")
    cluster.settle()
    stalled, created = cluster.truth(ConditionType.STALLED), len(cluster.created)
    cluster.change(evaluation={"gate": {"againstServing": "Ignore"}})
    cluster.settle()
    evaluate = f"conjnli-{cluster.plan.stage(Stage.EVALUATE).folder}"
    assert (stalled, cluster.created[created:]) == ("True", [f"{evaluate}-3"])
    assert configured(cluster) is None
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert model(cluster) != FIRST
