"""The quality gate: which student may take over, and what is said about one that may not."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.evaluation import Evaluation, GateVerdict, Score
from distillery_api.reasons import Reason
from distillery_api.spec import Gate
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.gate import gate_verdict
from simulated_cluster import SimulatedCluster

FIRST = "train-nxevyml5/model"


def table(**scores: float) -> Evaluation:
    return Evaluation.model_validate({"sampleSize": 150, **{name: {"score": score} for name, score in scores.items()}})


def verdict(gate: dict[str, Any], **scores: float) -> GateVerdict:
    return gate_verdict(Gate.model_validate(gate), table(**scores))


@pytest.mark.parametrize(
    ("gate", "scores", "met", "message"),
    [
        ({"minScore": 0.6}, {"student": 0.58}, False, "score 0.58 is below minScore 0.6"),
        ({"minScore": 0.6}, {"student": 0.6}, True, "score 0.6 is at least minScore 0.6"),
        ({"minScore": 0.6}, {"student": 0.5999}, False, "score 0.5999 is below minScore 0.6"),
        ({"minScore": 0}, {"student": 0}, True, "score 0 is at least minScore 0"),
        (
            {"minGainOverBase": 0.05},
            {"student": 0.7, "base": 0.65, "baseTeacherPrompt": 0.6},  # 0.7 - 0.65 is 0.0499… in binary arithmetic
            True,
            "gain of 0.05 over the base model (0.7 against 0.65) is at least minGainOverBase 0.05",
        ),
        (
            {"minGainOverBase": 0.05},
            {"student": 0.7, "base": 0.2, "baseTeacherPrompt": 0.69},
            False,
            "gain of 0.01 over the base model (0.7 against 0.69) is below minGainOverBase 0.05",
        ),
        (
            {"minGainOverBase": 0},
            {"student": 0.5, "base": 0.6},
            False,
            "gain of -0.1 over the base model (0.5 against 0.6) is below minGainOverBase 0",
        ),
        (
            {"minGainOverBase": 0.05},
            {"student": 0.7},
            False,
            "the result table holds no score of the base model, which minGainOverBase needs",
        ),
        (
            {"minScore": 0.9, "minGainOverBase": 0.5},
            {"student": 0.7, "base": 0.6},
            False,
            "score 0.7 is below minScore 0.9; gain of 0.1 over the base model (0.7 against 0.6) is below"
            " minGainOverBase 0.5",
        ),
        (
            {"minScore": 0.6, "minGainOverBase": 0.5},
            {"student": 0.7, "base": 0.6},
            False,
            "gain of 0.1 over the base model (0.7 against 0.6) is below minGainOverBase 0.5",
        ),
        ({"minScore": 0.6}, {"base": 0.6}, False, "the result table holds no score of the student"),
    ],
)
def test_the_verdict_states_the_figures_that_decided(
    gate: dict[str, Any], scores: dict[str, float], met: bool, message: str
) -> None:
    assert verdict(gate, **scores) == GateVerdict(met=met, message=message)


def test_without_a_result_table_no_bound_is_met() -> None:
    assert not gate_verdict(Gate(min_score=0), None).met


def gated(score: float, **gate: Any) -> SimulatedCluster:
    """A cluster whose first student has this score under a gate."""
    cluster = SimulatedCluster(evaluation={"gate": gate})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    evaluated(cluster, score)
    return cluster


def evaluated(cluster: SimulatedCluster, score: float) -> None:
    cluster.settle()
    cluster.start()
    cluster.finish(evaluation=Evaluation(sample_size=150, student=Score(score=score), base=Score(score=0.4)))
    cluster.settle()


def served_model(cluster: SimulatedCluster) -> str | None:
    deployment = cluster.objects.get(("Deployment", "conjnli"))
    return deployment and deployment["metadata"]["annotations"]["distillery.dev/model-path"]


def verified(cluster: SimulatedCluster) -> None:
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.settle()


def test_a_first_student_that_fails_is_not_served() -> None:
    cluster = gated(0.58, minScore=0.6)
    assert ("Deployment", "conjnli") not in cluster.objects
    ready = cluster.condition(ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "QualityGateFailed")
    assert ready.message == "score 0.58 is below minScore 0.6; no student is served"
    assert cluster.reason(ConditionType.STALLED) == "QualityGateFailed"
    assert cluster.truth(ConditionType.RECONCILING) is None
    assert cluster.truth(ConditionType.EVALUATED) == "True"
    assert cluster.truth(ConditionType.AVAILABLE) == "False"
    verified = cluster.condition(ConditionType.VERIFIED)
    assert verified is not None
    assert (verified.reason, verified.message) == ("NotStarted", "the newest student is not rolled out")
    assert cluster.status.progress == "quality gate failed"
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.gate == GateVerdict(met=False, message="score 0.58 is below minScore 0.6")
    assert cluster.requeue_after() is None


def test_a_student_that_passes_is_served() -> None:
    cluster = gated(0.62, minScore=0.6)
    assert served_model(cluster) == FIRST
    verified(cluster)
    assert cluster.reason() == "Serving"
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.gate == GateVerdict(met=True, message="score 0.62 is at least minScore 0.6")


def test_the_earlier_student_serves_on_where_a_new_one_fails() -> None:
    cluster = gated(0.7, minScore=0.6)
    verified(cluster)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    evaluated(cluster, 0.5)
    assert served_model(cluster) == FIRST
    assert cluster.reason() == "QualityGateFailed"
    message = cluster.condition(ConditionType.READY)
    assert message is not None
    assert message.message == f"score 0.5 is below minScore 0.6; the server keeps {FIRST}"
    assert cluster.truth(ConditionType.AVAILABLE) == "True"
    assert cluster.truth(ConditionType.VERIFIED) == "False"
    assert cluster.status.serving is not None
    assert cluster.status.serving.model_path == FIRST


def test_a_lower_bound_rolls_the_student_out_at_once_and_runs_nothing_again() -> None:
    cluster = gated(0.58, minScore=0.6)
    jobs = cluster.jobs()
    cluster.change(evaluation={"gate": {"minScore": 0.5}})
    cluster.settle()
    assert served_model(cluster) == FIRST
    assert cluster.jobs() == jobs
    verified(cluster)
    assert cluster.reason() == "Serving"


def test_a_gate_that_is_taken_away_rolls_the_student_out() -> None:
    cluster = gated(0.58, minScore=0.6)
    cluster.change(evaluation={})
    cluster.settle()
    assert served_model(cluster) == FIRST
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.gate is None


def test_a_higher_bound_stalls_what_is_served_and_takes_no_server_away() -> None:
    cluster = gated(0.7, minScore=0.6)
    verified(cluster)
    jobs = cluster.jobs()
    cluster.change(evaluation={"gate": {"minScore": 0.9}})
    cluster.settle()
    assert (cluster.reason(), served_model(cluster), cluster.jobs()) == ("QualityGateFailed", FIRST, jobs)
    assert cluster.truth(ConditionType.AVAILABLE) == "True"
    cluster.change(evaluation={"gate": {"minScore": 0.6}})
    cluster.settle()
    assert (cluster.reason(), cluster.jobs()) == ("Serving", jobs)


@pytest.mark.parametrize(("score", "reason"), [(0.7, "Succeeded"), (0.5, "QualityGateFailed")])
def test_without_a_server_the_gate_decides_whether_the_run_is_ready(score: float, reason: str) -> None:
    cluster = SimulatedCluster(evaluation={"gate": {"minScore": 0.6}}, serving={"mode": "None"})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    evaluated(cluster, score)
    assert cluster.reason() == reason
    assert cluster.truth(ConditionType.READY) == str(score >= 0.6)


def test_while_a_new_student_is_made_the_verdict_is_about_the_earlier_one() -> None:
    cluster = gated(0.7, minScore=0.6)
    verified(cluster)
    cluster.change(training={"seed": 7}, evaluation={"gate": {"minScore": 0.8}})
    cluster.settle()
    assert cluster.reason() == "Training"
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.gate == GateVerdict(met=True, message="score 0.7 is at least minScore 0.6")


def test_a_changed_bound_does_not_retry_a_failed_stage() -> None:
    cluster = SimulatedCluster(evaluation={"gate": {"minScore": 0.6}})
    cluster.settle()
    cluster.start()
    cluster.fail(2, message="an invalid row")
    cluster.settle()
    jobs = cluster.jobs()
    cluster.change(evaluation={"gate": {"minScore": 0.5}})
    cluster.settle()
    assert cluster.jobs() == jobs


def test_the_server_that_stays_is_verified_where_it_is_changed() -> None:
    cluster = gated(0.7, minScore=0.6)
    verified(cluster)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    evaluated(cluster, 0.5)
    created = len(cluster.created)
    cluster.change(serving={"runtime": "Transformers", "image": "mine:2"})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert cluster.truth(ConditionType.AVAILABLE) == "False"
    assert [name.rsplit("-", 2)[0] for name in cluster.created[created:]] == ["conjnli-verify"]
    config = cluster.objects["ConfigMap", cluster.created[-1].removesuffix("-1")]["data"]["run.json"]
    assert "train-nxevyml5" in config
    verified(cluster)
    assert (cluster.truth(ConditionType.AVAILABLE), cluster.reason()) == ("True", "QualityGateFailed")
    assert (served_model(cluster), len(cluster.created), cluster.decisions()) == (FIRST, created + 1, ())


def test_a_bound_that_is_raised_before_verify_does_not_leave_the_server_unverified() -> None:
    cluster = gated(0.7, minScore=0.6)
    cluster.serve()
    cluster.change(evaluation={"gate": {"minScore": 0.9}})
    verified(cluster)
    assert (cluster.truth(ConditionType.AVAILABLE), cluster.reason()) == ("True", "QualityGateFailed")


def test_why_the_server_that_stays_could_not_be_changed_is_said() -> None:
    cluster = gated(0.7, minScore=0.6)
    verified(cluster)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    evaluated(cluster, 0.5)
    cluster.change(serving={"runtime": "Transformers", "image": "mine:2"})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "other answers")
    cluster.settle()
    cluster.serve()
    cluster.settle()
    ready = cluster.condition(ConditionType.READY)
    assert ready is not None
    assert ready.message == (
        f"score 0.5 is below minScore 0.6; the server keeps {FIRST}; serving train-nxevyml5: other answers; {FIRST}"
        " serves again"
    )
    assert cluster.truth(ConditionType.AVAILABLE) == "True"
