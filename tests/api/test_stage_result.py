import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.evaluation import Evaluation, Score, ServingComparison
from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import EpochLosses, RowCounts, StageOutcome, StageResult, TrainingFigures
from distillery_api.usage import Estimate, Usage
from distillery_api.verdict import Verdict


def test_termination_message_is_read_back_as_the_result():
    result = StageResult(
        stage=Stage.GENERATE, folder="generate-1", state=StageOutcome.DONE, usage=Usage(requests=3, input_tokens=7)
    )
    assert StageResult.model_validate_json(result.termination_message()).usage == Usage(requests=3, input_tokens=7)


def test_full_evaluation_fits_the_termination_message():
    score = Score(
        score=0.123456789,
        low=0.123456789,
        high=0.123456789,
        macro_f1=0.123456789,
        strict=0.123456789,
        unreadable=0.123456789,
        prompt_tokens=123.456789,
        answer_tokens=123.456789,
        latency_seconds=0.123456789,
    )
    table = Evaluation(
        sample_size=150,
        teacher=score,
        base_teacher_prompt=score,
        base=score,
        student=score,
        majority=score,
        shallow=score,
        gap_closed=0.123456789,
        relative_gain=0.123456789,
        p_value=1.23456789e-12,
        device="cuda",
    )
    result = StageResult(stage=Stage.EVALUATE, folder="evaluate-1", state=StageOutcome.DONE, evaluation=table)
    assert "evaluation" in json.loads(result.termination_message())


def _figures(*names):
    return Score(**dict.fromkeys(names, 0.1235), prompt_tokens=1234.0, answer_tokens=123.5, latency_seconds=12.35)


_COMMON = ("score", "low", "high", "unreadable", "rouge1", "rouge2", "words")
_OF_SUMMARIES = (*_COMMON, "entity_density", "faithfulness", "invented_numbers")
_LEAD = Score(**dict.fromkeys((name for name in _OF_SUMMARIES if name != "unreadable"), 0.1235))


def _evaluated(message, judge, *names, **more):
    score = _figures(*names)
    table = Evaluation(
        metric="rougeL",
        sample_size=100_000,
        held_out_from_validation=True,
        partly_supervised=True,
        teacher=score,
        base_teacher_prompt=score,
        base=score,
        student=score,
        gap_closed=0.1235,
        relative_gain=0.1235,
        p_value=0.000123,
        judge=judge,
        device="CPU (Intel(R) Xeon(R) Platinum 8480C Processor, 16 threads)",
        **more,
    )
    return StageResult(
        stage=Stage.EVALUATE,
        folder="evaluate-0123456789",
        state=StageOutcome.DONE,
        message=message,
        start_time=datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC),
        completion_time=datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC),
        files={"predictions": "evaluate-0123456789/predictions.jsonl"},
        evaluation=table,
    )


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(_evaluated("x" * 600, "gpt-4o", *_OF_SUMMARIES, "win_rate", lead=_LEAD), id="summaries"),
        pytest.param(_evaluated("x" * 600, "gpt-4o", *_COMMON, "win_rate", "perplexity"), id="conversations"),
    ],
)
def test_every_figure_of_a_table_of_texts_fits_the_termination_message(result):
    read = StageResult.model_validate_json(result.termination_message())
    assert read.evaluation == result.evaluation


def test_table_that_is_too_long_for_the_termination_message_keeps_its_scores():
    result = _evaluated("ä" * 600, "j" * 200, *_OF_SUMMARIES, "win_rate", "perplexity", lead=_LEAD, majority=_LEAD)
    read = StageResult.model_validate_json(result.termination_message())
    assert read.evaluation.student == Score(score=0.1235, low=0.1235, high=0.1235, rouge1=0.1235)
    assert (read.evaluation.gap_closed, read.evaluation.judge) == (0.1235, "j" * 200)


_VERDICT = Verdict(
    kind="NoBetterThanBaseline",
    message="ä" * 160,
    compared_with="baseTeacherPrompt",
    remedy="LowerLearningRate",
    next_step="n" * 320,
)


def test_the_verdict_of_a_table_that_is_too_long_stays():
    compared = ServingComparison(hash="0123456789", problem="p" * 512)
    names = (*_OF_SUMMARIES, "win_rate", "perplexity")
    more = {"lead": _LEAD, "majority": _LEAD, "shallow": _LEAD, "serving": _figures(*names)}
    result = _evaluated("ä" * 600, "j" * 200, *names, verdict=_VERDICT, serving_comparison=compared, **more)
    read = StageResult.model_validate_json(result.termination_message()).evaluation
    assert (read.verdict, read.student.score, read.sample_size) == (_VERDICT, 0.1235, 100_000)


def test_losses_by_epoch_that_are_too_many_are_left_out():
    losses = (EpochLosses(train=0.123456, validation=0.123456),) * 100
    figures = TrainingFigures(
        steps=9, train_loss=1, validation_loss=2, trainable_parameters=3, device="cpu", seconds=1, losses=losses
    )
    result = StageResult(stage=Stage.TRAIN, folder="train-1", state=StageOutcome.DONE, training=figures)
    assert StageResult.model_validate_json(result.termination_message()).training == figures.brief()
    few = result.model_copy(update={"training": figures.model_copy(update={"losses": losses[:6]})})
    assert len(StageResult.model_validate_json(few.termination_message()).training.losses) == 6


_ESTIMATE = Estimate(
    rows=1,
    requests=1,
    input_tokens=1,
    output_tokens=1,
    low_tokens=1,
    high_tokens=1,
    basis="counted, and not guessed " * 20,
)


def _generated(reasons):
    counts = RowCounts(read=1, rejected=1, rejected_by_reason={f"a_reason_that_is_long_{n}": 1 for n in range(reasons)})
    return StageResult(
        stage=Stage.GENERATE,
        folder="generate-1",
        state=StageOutcome.DONE,
        message="x" * 600,
        rows=counts,
        usage=Usage(requests=1),
        estimate=_ESTIMATE,
        files={name: f"generate-1/{name}.jsonl" for name in ("train", "validation", "test", "rejected")},
    )


def test_estimate_fits_the_termination_message():
    assert StageResult.model_validate_json(_generated(8).termination_message()).estimate == _ESTIMATE


def test_reasons_of_rows_matter_more_than_the_estimate():
    result = _generated(40)
    read = StageResult.model_validate_json(result.termination_message())
    assert (read.rows, read.estimate) == (result.rows, None)


@given(st.text(max_size=5000), st.dictionaries(st.text(min_size=1, max_size=40), st.integers(0, 10**6), max_size=64))
def test_termination_message_never_exceeds_two_kibibytes(message, reasons):
    result = StageResult(
        stage=Stage.TRAIN,
        folder="train-1",
        state=StageOutcome.FAILED,
        reason=Reason.TRAINING_FAILED,
        message=message,
        rows=RowCounts(read=1, rejected=1, rejected_by_reason=reasons),
    )
    assert len(result.termination_message().encode()) <= 2048


def test_shortened_text_ends_in_an_ellipsis_and_fits():
    assert shortened("äöü" * 10, 10) == "äöü…"


def test_message_that_quotes_a_server_has_no_control_characters():
    result = StageResult(
        stage="generate", folder="generate-0123456789", state="Failed", message="It answered:\n\x1b[31mNo\x9b\u202e."
    )
    assert result.message == "It answered:\nNo."


def _searched(trials):
    trial = {"learningRate": 0.0003, "epochs": 12, "rank": 128, "score": 0.9123, "loss": 0.1234, "seconds": 1234.5}
    return TrainingFigures(
        steps=1200,
        train_loss=0.123456,
        validation_loss=0.123456,
        validation_score=0.912345,
        trainable_parameters=123_456_789,
        device="cuda",
        seconds=1234.5,
        model_digest="sha256:" + 64 * "0",
        losses=[EpochLosses(train=0.123456, validation=0.123456, score=0.912345)] * 12,
        search={"combinations": 60, "trained": trials, "seconds": 1234.5 * trials, "trials": [trial] * trials},
    )


@pytest.mark.parametrize(("trials", "reported"), [(4, 4), (8, 8), (32, 12)])
def test_of_a_search_as_many_trials_are_reported_as_fit_the_best_first(trials, reported):
    result = StageResult(
        stage=Stage.TRAIN, folder="train-0123456789", state=StageOutcome.DONE, training=_searched(trials)
    )
    read = StageResult.model_validate_json(result.termination_message()).training
    assert len(read.search.trials) == reported
    assert (read.search.combinations, read.search.trained, read.model_digest) == (60, trials, "sha256:" + 64 * "0")
