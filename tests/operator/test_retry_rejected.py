"""Requests to ask rejected rows again: how they are written, and which rows of a finished stage they concern."""

import json

import pytest
import typer

from distillery_api.run_config import RetryRejected
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts
from distillery_api.status import ConditionType
from distillery_operator.cli.retry_option import chosen_reasons, joined
from distillery_operator.core.events import status_changes
from distillery_operator.core.situation import find_condition
from distillery_operator.planning.retry_rejected import annotated_retry, annotation_problem, concerned_rows
from simulated_cluster import SimulatedCluster

ROWS = RowCounts(
    read=9, kept=4, rejected=5, rejected_by_reason={"refused": 2, "truncated": 1, "duplicate": 1, "new": 1}
)


@pytest.mark.parametrize(
    ("arguments", "as_one"),
    [
        ("file.yaml --retry-rejected", "file.yaml --retry-rejected=all"),
        ("--retry-rejected file.yaml", "--retry-rejected=all file.yaml"),
        ("file.yaml --retry-rejected refused truncated", "file.yaml --retry-rejected=refused,truncated"),
        ("--retry-rejected refused,http_500 file.yaml", "--retry-rejected=refused,http_500 file.yaml"),
        ("--retry-rejected refused --out runs/a file.yaml", "--retry-rejected=refused --out runs/a file.yaml"),
        ("--retry-rejected all file.yaml", "--retry-rejected=all file.yaml"),
        ("--retry-rejected=refused file.yaml", "--retry-rejected=refused file.yaml"),
        ("file.yaml -- --retry-rejected", "file.yaml -- --retry-rejected"),
        ("file.yaml", "file.yaml"),
    ],
)
def test_reasons_follow_the_option(arguments, as_one):
    assert joined(arguments.split()) == as_one.split()


@pytest.mark.parametrize(
    ("value", "reasons"),
    [(None, None), ("all", ()), ("refused", ("refused",)), ("refused,bad_json", ("refused", "bad_json"))],
)
def test_chosen_reasons(value, reasons):
    assert chosen_reasons(value) == reasons


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("trunkated", "trunkated is no rejection reason; write some of "),
        ("duplicate", "duplicate does not pass by asking again; reasons that may pass are "),
    ],
)
def test_a_word_that_is_no_reason_is_named(value, message):
    with pytest.raises(typer.BadParameter, match=message):
        chosen_reasons(value)


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        ("2026-11-29T20:00:00Z", ()),
        ("now", ()),
        ("all 2", ()),
        ("refused", ("refused",)),
        ("refused, truncated 2026-11-29", ("refused", "truncated")),
        ("http_500 2", ("http_500",)),
    ],
)
def test_an_annotation_holds_reasons_and_what_makes_it_new(value, reasons):
    assert annotated_retry(value) == RetryRejected(request=value, reasons=reasons)


@pytest.mark.parametrize(
    "value", [None, "", "  ", "trunkated", "duplicate", "refused trunkated 2026-11-29", "Refused", "no-call"]
)
def test_an_annotation_with_a_misspelt_reason_asks_for_nothing(value):
    assert annotated_retry(value) is None


@pytest.mark.parametrize(
    ("value", "rows"),
    [("now", {"refused": 2, "truncated": 1}), ("refused", {"refused": 2}), ("bad_json", {}), (None, {})],
)
def test_rows_that_a_request_concerns(value, rows):
    assert concerned_rows(annotated_retry(value), ROWS) == rows


REJECTED = RowCounts(read=9, kept=6, rejected=3, rejected_by_reason={"refused": 2, "duplicate": 1})
ANNOTATION = "distillery.dev/retry-rejected"


def served_run() -> SimulatedCluster:
    """A cluster in which all stages are done, with rows that the teacher refused."""
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.start()
    cluster.finish(rows=REJECTED)
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    cluster.wait(60)
    return cluster


def given_to_generate(cluster: SimulatedCluster) -> object:
    """What the ConfigMap of generate asks for."""
    (config_map,) = [
        each for (kind, name), each in cluster.objects.items() if kind == "ConfigMap" and "-generate-" in name
    ]
    return json.loads(config_map["data"]["run.json"]).get("retryRejected")


def test_the_annotation_asks_rejected_rows_again_once():
    cluster = served_run()
    served = cluster.status.serving
    cluster.annotations[ANNOTATION] = "refused 2026-11-29"
    cluster.settle()
    assert cluster.record(Stage.GENERATE).job.endswith("-2")
    assert given_to_generate(cluster) == {"request": "refused 2026-11-29", "reasons": ["refused"]}
    assert cluster.status.last_handled_retry_rejected == "refused 2026-11-29"
    cluster.start()
    cluster.wait(60)
    cluster.finish(rows=RowCounts(read=9, kept=7, rejected=2, rejected_by_reason={"refused": 1}), rows_revision="1a2b")
    cluster.settle()
    assert cluster.record(Stage.GENERATE).retry_rejected is None
    assert cluster.record(Stage.TRAIN).attempts == 1
    assert cluster.status.serving == served
    cluster.start()
    cluster.finish()
    cluster.run_stages(Stage.EVALUATE, Stage.VERIFY)
    assert cluster.record(Stage.GENERATE).attempts == 2


def test_the_annotation_does_nothing_where_it_concerns_no_row():
    cluster = served_run()
    cluster.annotations[ANNOTATION] = "bad_json 1"
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1
    assert cluster.status.last_handled_retry_rejected == "bad_json 1"


def test_a_misspelt_reason_is_said_in_the_conditions_and_once_in_an_event():
    cluster = served_run()
    before = cluster.status
    cluster.annotations[ANNOTATION] = "trunkated"
    cluster.settle()
    sentence = f"the annotation {ANNOTATION} asks for nothing: trunkated is no rejection reason; write some of "
    assert cluster.record(Stage.GENERATE).attempts == 1
    ready = find_condition(cluster.status, ConditionType.READY)
    assert ready.status == "True"
    assert sentence in ready.message
    (event,) = status_changes(before, cluster.status)
    assert (event.reason, event.warning) == ("InvalidSpec", True)
    assert event.note.startswith(f"The{sentence[3:]}")
    said = cluster.status
    cluster.wait(600)
    assert status_changes(said, cluster.status) == ()
    cluster.annotations[ANNOTATION] = "truncated"
    cluster.settle()
    assert "asks for nothing" not in find_condition(cluster.status, ConditionType.READY).message


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("duplicate", "duplicate does not pass by asking again; reasons that may pass are "),
        ("refused, Truncated 2026-11-29", "Truncated is no rejection reason; write some of "),
        ("refused 2", None),
        (None, None),
    ],
)
def test_the_sentence_about_an_annotation_that_asks_for_nothing(value, said):
    problem = annotation_problem(value)
    beginning = f"the annotation {ANNOTATION} asks for nothing: {said}"
    assert problem is None if said is None else problem.startswith(beginning)


def test_every_attempt_of_the_retry_is_given_the_same_request():
    cluster = served_run()
    cluster.annotations[ANNOTATION] = "now 1"
    cluster.settle()
    cluster.start()
    cluster.fail(3)
    cluster.settle()
    cluster.wait(3600)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 3
    assert given_to_generate(cluster) == {"request": "now 1", "reasons": []}


def test_the_annotation_waits_while_generate_runs():
    cluster = served_run()
    cluster.annotations[ANNOTATION] = "now 1"
    cluster.settle()
    cluster.start()
    cluster.annotations[ANNOTATION] = "now 2"
    cluster.settle()
    assert cluster.status.last_handled_retry_rejected == "now 1"
    cluster.finish(rows=REJECTED)
    cluster.settle()
    assert cluster.status.last_handled_retry_rejected == "now 2"
    assert cluster.record(Stage.GENERATE).attempts == 3


def test_a_new_run_is_not_given_an_old_annotation():
    cluster = served_run()
    cluster.annotations[ANNOTATION] = "now 1"
    cluster.settle()
    cluster.start()
    cluster.finish(rows=REJECTED)
    cluster.settle()
    data = {**cluster.spec["data"], "labels": ["entailment", "contradiction"]}
    cluster.change(data=data)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1
    configs = [each for (kind, name), each in cluster.objects.items() if kind == "ConfigMap" and "generate" in name]
    assert "retryRejected" not in configs[-1]["data"]["run.json"]
