"""Requests to ask rejected rows again: how they are written, and which rows of a finished stage they concern."""

import pytest
import typer

from distillery_api.run_config import RetryRejected
from distillery_api.stage_result import RowCounts
from distillery_operator.cli.retry_option import chosen_reasons, joined
from distillery_operator.planning.retry_rejected import annotated_retry, concerned_rows

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


@pytest.mark.parametrize("value", [None, "", "  ", "trunkated", "duplicate", "refused trunkated 2026-11-29"])
def test_an_annotation_with_a_misspelt_reason_asks_for_nothing(value):
    assert annotated_retry(value) is None


@pytest.mark.parametrize(
    ("value", "rows"),
    [("now", {"refused": 2, "truncated": 1}), ("refused", {"refused": 2}), ("bad_json", {}), (None, {})],
)
def test_rows_that_a_request_concerns(value, rows):
    assert concerned_rows(annotated_retry(value), ROWS) == rows
