"""Row counters, and when a split can no longer reach its minimum."""

import pytest

from distillery_api.spec import Data
from distillery_trainer.chat.reply import Failure
from distillery_trainer.data.rows import Rejection
from distillery_trainer.filters.few_rows import few_rows_note, where_rows_went
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.filters.row_counts import RequiredRows, RowCounter, no_usable_answer, total
from distillery_trainer.runtime.errors import TryLater, UserError


@pytest.mark.parametrize(
    ("rows", "ratio", "unanswered"), [(30, 0.7, 9), (10, 0.7, 3), (11, 0.7, 3), (9, 0.0, 9), (9, 1.0, 0)]
)
def test_unanswered_rows_that_a_split_tolerates(rows, ratio, unanswered):
    counter = RowCounter("train", rows, ratio, RequiredRows(0))
    rejecting(counter, *["empty"] * unanswered).check(teacher_answered=True)
    if unanswered < rows:
        with pytest.raises(UserError):
            rejecting(counter, "empty").check(teacher_answered=True)


def rejecting(
    counter: RowCounter, *reasons: str, failure: Failure | None = None, unanswered: bool = True
) -> RowCounter:
    for reason in reasons:
        counter.reject(RowRejection(Rejection(reason, ""), unanswered=unanswered, failure=failure))
    return counter


def test_split_fails_with_the_row_that_makes_the_ratio_impossible():
    counter = rejecting(RowCounter("train", 10, 0.7, RequiredRows(1)), "empty", "empty", "bad_json")
    counter.check(teacher_answered=True)
    with pytest.raises(
        UserError, match=r"4 of 10 have no usable answer \(empty 3, bad_json 1\), but .* 0.7 allows at most 3\."
    ) as caught:
        rejecting(counter, "empty").check(teacher_answered=True)
    assert caught.value.reason == "TooFewRows"


def test_rows_that_were_not_sent_do_not_count_for_the_ratio():
    counter = RowCounter("train", 10, 1.0, RequiredRows(5), {"duplicate": 4})
    rejecting(counter, *["duplicate"] * 4, unanswered=False).check(teacher_answered=True)
    assert counter.rejected == 4


def test_answers_that_a_filter_rejects_count_for_min_rows_only():
    counter = rejecting(RowCounter("train", 10, 1.0, RequiredRows(8)), "too_long", "too_long", unanswered=False)
    counter.check(teacher_answered=True)
    with pytest.raises(UserError, match=r"3 of 10 are rejected \(too_long 3\), but at least 8 must be kept"):
        rejecting(counter, "too_long", unanswered=False).check(teacher_answered=True)


def test_split_that_is_too_small_to_begin_with_is_an_error_before_any_request():
    with pytest.raises(UserError, match="there are 64, but at least 65 must be kept"):
        RowCounter("train", 64, 0.7, RequiredRows(65))
    with pytest.raises(UserError, match=r"there are 70, of which some are rejected \(duplicate 6\), but at least 65"):
        RowCounter("train", 70, 0.7, RequiredRows(65), {"duplicate": 6})


def test_split_lost_to_failed_requests_is_a_failed_generation():
    counter = rejecting(
        RowCounter("train", 4, 0.7, RequiredRows(1)), "http_400", "http_400", failure=Failure("http_400", "")
    )
    with pytest.raises(UserError) as caught:
        counter.check(teacher_answered=True)
    assert caught.value.reason == "GenerationFailed"


def test_teacher_that_answered_nothing_is_retried_later_only_after_transient_failures():
    transient, final = Failure("http_503", "", transient=True), Failure("http_400", "")
    with pytest.raises(TryLater):
        rejecting(RowCounter("train", 2, 1.0, RequiredRows(1)), "http_503", failure=transient).check(
            teacher_answered=False
        )
    with pytest.raises(UserError):
        rejecting(RowCounter("train", 2, 1.0, RequiredRows(1)), "http_400", failure=final).check(teacher_answered=False)


def test_first_rows_without_any_answer_say_why():
    unreadable = RowRejection(Rejection("bad_json", "The reply is not valid JSON."), unanswered=True)
    error = no_usable_answer([unreadable, unreadable])
    assert error.exit_code == 2
    assert error.message.startswith(
        "None of the first 2 rows got a usable answer (bad_json 2), so the other rows are not"
    )
    away = RowRejection(
        Rejection("http_503", "HTTP 503"), unanswered=True, failure=Failure("http_503", "", transient=True)
    )
    assert no_usable_answer([away]).exit_code == 3


def test_counts_of_all_splits():
    train = rejecting(RowCounter("train", 5, 0, RequiredRows(0)), "empty", "empty")
    validation = rejecting(RowCounter("validation", 5, 0, RequiredRows(0)), "empty")
    train.kept = 3
    assert total([train, validation]).model_dump() == {
        "read": 6,
        "kept": 3,
        "rejected": 3,
        "rejected_by_reason": {"empty": 3},
        "transient_failures": 0,
    }


# --- few rows


def data(**settings) -> Data:
    return Data.model_validate({"train": {"uri": "train.jsonl"}, **settings})


@pytest.mark.parametrize(
    ("settings", "rejected", "sentences"),
    [
        (
            {"validationFraction": 0.1},
            3,
            " 3 of them are rejected. Validation rows are taken from the train rows (data.validationFraction 0.1)."
            " About half of the validation rows are held out, since there is no data.test.",
        ),
        (
            {"validation": {"uri": "v.jsonl"}},
            0,
            " About half of the validation rows are held out, since there is no data.test.",
        ),
        ({"validation": {"uri": "v.jsonl"}, "test": {"uri": "t.jsonl"}}, 0, ""),
    ],
)
def test_sentences_say_where_the_rows_went(settings, rejected, sentences):
    beginning = "400 rows were read: 360 train, 20 validation and 20 held-out rows."
    assert (
        where_rows_went(data(**settings), {"train": 360, "validation": 20, "test": 20}, rejected)
        == beginning + sentences
    )


@pytest.mark.parametrize(
    ("train", "validation", "test", "note"),
    [
        (360, 20, 20, "Few rows: 20 held-out rows (scores on fewer than 150 are imprecise)."),
        (
            64,
            4,
            5,
            "Few rows: 64 train rows (small students learn little from fewer than 100), 4 validation rows (fewer than"
            " 20 choose the checkpoint badly), 5 held-out rows (scores on fewer than 150 are imprecise).",
        ),
        (300, 80, 200, ""),
        (5_000, 5, 5, ""),
    ],
)
def test_note_says_what_is_too_few_of_less_than_a_thousand_rows(train, validation, test, note):
    assert few_rows_note({"train": train, "validation": validation, "test": test}) == note
