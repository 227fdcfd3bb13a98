import json

from hypothesis import given
from hypothesis import strategies as st

from distillery_api.result import (
    Evaluation,
    Reason,
    RowCounts,
    Score,
    Stage,
    StageResult,
    StageState,
    Usage,
    shortened,
)


def test_termination_message_is_read_back_as_the_result():
    result = StageResult(
        stage=Stage.GENERATE, folder="generate-1", state=StageState.DONE, usage=Usage(requests=3, input_tokens=7)
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
        base_elaborate=score,
        base=score,
        student=score,
        majority=score,
        shallow=score,
        gap_closed=0.123456789,
        relative_gain=0.123456789,
        p_value=1.23456789e-12,
        device="cuda",
    )
    result = StageResult(stage=Stage.EVALUATE, folder="evaluate-1", state=StageState.DONE, evaluation=table)
    assert "evaluation" in json.loads(result.termination_message())


@given(st.text(max_size=5000), st.dictionaries(st.text(min_size=1, max_size=40), st.integers(0, 10**6), max_size=64))
def test_termination_message_never_exceeds_two_kibibytes(message, reasons):
    result = StageResult(
        stage=Stage.TRAIN,
        folder="train-1",
        state=StageState.FAILED,
        reason=Reason.TRAINING_FAILED,
        message=message,
        rows=RowCounts(read=1, rejected=1, rejected_by_reason=reasons),
    )
    assert len(result.termination_message().encode()) <= 2048


def test_shortened_text_ends_in_an_ellipsis_and_fits():
    assert shortened("äöü" * 10, 10) == "äöü…"
