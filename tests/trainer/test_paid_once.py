"""The generate stage over several runs: each reply is paid for once, also where rows were rejected and where the limit
on replies has been raised; rejected rows are asked again on request."""

import pytest

from chat_faults import cut_off, declined, labelled, no_faults, where
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.usage import Estimate
from distillery_trainer.__main__ import main
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher

GOLD = gold_of(nli_rows(12), nli_rows(6, 100), nli_rows(3, 200))
CUT, REFUSED, UNKNOWN = "Person 1 ", "Person 2 ", "Person 3 "
TEACHER = {"pricing": {"inputPerMillion": 1, "outputPerMillion": 2, "currency": "EUR"}}


class Faults:
    """A schedule that a test may exchange between two runs."""

    schedule = staticmethod(no_faults)

    def __call__(self, call):
        return self.schedule(call)


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def teacher(faults):
    with gold_teacher(GOLD, faults=faults) as server:
        yield server


@pytest.fixture
def run(tmp_path, teacher, faults):
    refused, unknown, cut = where(REFUSED, declined()), where(UNKNOWN, labelled("perhaps")), where(CUT, cut_off())
    faults.schedule = lambda call: refused(call) or unknown(call) or cut(call)
    return GenerateRun(tmp_path, teacher.url, teacher=TEACHER)


def retrying(run, request, *reasons):
    run.config = {"retryRejected": {"request": request, "reasons": list(reasons)}}
    return run


def sent_to(teacher, since):
    """Who the requests since then are about, once for each request."""
    texts = [str(request.body["messages"]) for request in teacher.requests[since:]]
    return sorted(int(text.rpartition("Person ")[2].split(" ")[0]) for text in texts)


def test_a_higher_limit_asks_only_the_rows_that_were_cut_off(run, teacher, faults):
    assert sorted(run.run().rows.rejected_by_reason) == ["label_not_allowed", "refused", "truncated"]
    faults.schedule, before = no_faults, len(teacher.requests)

    run.folder, run.generation = "generate-higher", {"sampling": {"maxTokens": 700}}
    result = run.run()
    assert sent_to(teacher, before) == [1]
    assert sorted(result.rows.rejected_by_reason) == ["label_not_allowed", "refused"]

    run.folder, run.generation = "generate-lower", {"sampling": {"maxTokens": 300}}
    assert run.run().rows == result.rows
    assert sent_to(teacher, before) == [1]


def test_rejected_rows_are_sent_again_on_request_and_no_others(run, teacher, faults):
    first = run.run()
    faults.schedule, before = no_faults, len(teacher.requests)

    result = retrying(run, "today").run()
    assert sent_to(teacher, before) == [1, 2, 3]
    assert result.rows.rejected == 0
    assert "3 rejected rows were asked again: 3 of them are kept now." in result.message
    assert result.usage.requests == first.usage.requests + 3

    run.config = {}
    run.folder = "generate-later"
    assert run.run().rows == result.rows
    assert len(teacher.requests) == before + 3


def test_only_rows_with_the_given_reasons_are_sent_again(run, teacher, faults):
    run.run()
    faults.schedule, before = no_faults, len(teacher.requests)
    result = retrying(run, "today", "refused").run()
    assert sent_to(teacher, before) == [2]
    assert sorted(result.rows.rejected_by_reason) == ["label_not_allowed", "truncated"]


def test_the_same_request_asks_each_row_once_and_another_one_again(run, teacher):
    run.run()
    before = len(teacher.requests)
    retrying(run, "today", "refused").run()
    (run.workspace / run.folder / "result.json").unlink()  # as after a kill: the stage begins anew
    retrying(run, "today", "refused").run()
    assert sent_to(teacher, before) == [2]
    retrying(run, "tomorrow", "refused").run()
    assert sent_to(teacher, before) == [2, 2]


def test_a_finished_stage_does_nothing_for_a_request_that_it_has_handled(run, teacher):
    retrying(run, "today").run()
    before = len(teacher.requests)
    assert retrying(run, "today").run().retried == "today"
    assert len(teacher.requests) == before


def test_the_card_counts_all_replies_to_its_rows_whoever_paid_for_them(run, teacher, faults):
    first = run.run()
    faults.schedule = no_faults
    run.folder, run.generation = "generate-higher", {"sampling": {"maxTokens": 700}}
    second = run.run()
    assert second.usage.requests == 1
    card = (run.workspace / run.folder / "README.md").read_text()
    # The reply that was cut off is not one of these rows' replies any more: it belongs to the first run's.
    assert f"| Replies | {first.usage.requests:,} |" in card

    retrying(run, "today", "refused").run()
    card = (run.workspace / run.folder / "README.md").read_text()
    assert f"| Replies | {first.usage.requests + 1:,} |" in card
    assert " EUR |" in card


@pytest.mark.parametrize(
    ("reason", "may_pass"),
    [
        ("truncated", True),
        ("refused", True),
        ("bad_json", True),
        ("several_labels", True),
        ("content_filter", True),
        ("judge_rejected", True),
        ("judge_unreadable", True),
        ("disagrees_with_gold", True),
        ("low_agreement", True),
        ("http_500", True),
        ("duplicate", False),
        ("leaks_into_test", False),
        ("special_token", False),
        ("context_too_long", False),
        ("log_call_failed", False),
        ("no_end_of_turn", False),
        ("internal_error", False),
    ],
)
def test_which_reasons_may_pass(reason, may_pass):
    assert RejectionReason(reason).may_pass is may_pass


def estimated(run, capsys):
    """What `estimate` prints for a run that has replies in its workspace."""
    replies = str(run.workspace / "replies")
    assert main(["estimate", "--config", str(run.config_file), "--replies", replies]) == 0
    return Estimate.model_validate_json(capsys.readouterr().out)


def test_an_estimate_is_about_the_rows_without_replies(run, teacher, faults, capsys):
    faults.schedule = no_faults
    whole = run.run().estimate
    run.folder, run.train = "generate-more", nli_rows(15)
    estimate = estimated(run, capsys)
    assert (whole.rows, whole.stored_rows) == (21, 0)
    assert (estimate.rows, estimate.stored_rows, estimate.requests) == (3, 21, 3)
    assert 0 < estimate.cost < whole.cost / 5
    assert estimate.sentence().startswith("3 of 24 rows to ask: 3 requests;")
    assert run.run().estimate == estimate


def test_an_estimate_for_another_model_is_about_all_rows(run, faults, capsys):
    faults.schedule = no_faults
    run.run()
    assert (estimated(run, capsys).rows, estimated(run, capsys).sentence()) == (0, "0 of 21 rows to ask")
    run.teacher = {**TEACHER, "model": "other"}
    assert estimated(run, capsys).rows == 21


def test_rows_that_were_cut_off_count_as_rows_to_send_under_a_higher_limit(run, capsys):
    run.run()
    run.generation = {"sampling": {"maxTokens": 700}}
    assert (estimated(run, capsys).rows, estimated(run, capsys).stored_rows) == (1, 20)
