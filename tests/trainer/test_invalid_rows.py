"""Invalid input: before any request the stage ends with exit code 2 and an error that names file, line and rule."""

import json

import pytest

from generate_run import GenerateRun, jsonl, nli_row, nli_rows
from teacher_server import gold_teacher

USER = {"role": "user", "content": "Premise: a\nHypothesis: b"}
ASSISTANT = {"role": "assistant", "content": "neutral"}
SYSTEM = {"role": "system", "content": "Reply with one word."}


@pytest.fixture
def teacher():
    with gold_teacher({}) as server:
        yield server


@pytest.fixture
def run(tmp_path, teacher):
    return GenerateRun(tmp_path, teacher.url)


def line(*messages, **extra) -> bytes:
    return json.dumps({"messages": messages, **extra}).encode()


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        pytest.param(b"{oops", "not JSON", id="not JSON"),
        pytest.param(b'["messages"]', "not a JSON object", id="a list"),
        pytest.param(b'{"messages": []}', '"messages" is missing or empty', id="no messages"),
        pytest.param(b'{"text": "a"}', 'unknown key "text"', id="unknown key"),
        pytest.param(line(SYSTEM), "the row has no user message", id="system only"),
        pytest.param(line(ASSISTANT), "the row has no user message", id="assistant only"),
        pytest.param(line(ASSISTANT, USER), "wrong order of roles (assistant, user)", id="assistant first"),
        pytest.param(line(USER, SYSTEM), "wrong order of roles (user, system)", id="system last"),
        pytest.param(line(USER, USER), "wrong order of roles (user, user)", id="user twice"),
        pytest.param(line(USER, ASSISTANT, USER), "has one user message", id="two questions"),
        pytest.param(line({"role": "tool", "content": "a"}), "the role 'tool' is not one of", id="unknown role"),
        pytest.param(line({"role": "user", "content": ""}), "message 1: the content is an empty string", id="empty"),
        pytest.param(line({"role": "user", "content": " \n"}), "the content is an empty string", id="white space"),
        pytest.param(line({"role": "user", "content": None}), "the content is not a string", id="null"),
        pytest.param(line(SYSTEM, {**USER, "tool_calls": [1]}), 'message 2: unknown key "tool_calls"', id="tool calls"),
        pytest.param(line({"role": "user", "content": "a\0b"}), "NUL character", id="NUL character"),
        pytest.param(b'{"messages": "a\0b"}', "NUL byte", id="NUL byte"),
        pytest.param(b'{"messages": [{"role": "user", "content": "\xff"}]}', "not JSON", id="not UTF-8"),
        pytest.param(line(USER, gold="maybe"), 'gold label "maybe" is not one of entailment, neutral', id="label"),
        pytest.param(line(USER, gold=["neutral", "maybe"]), 'gold label "maybe"', id="label in a list"),
        pytest.param(line(USER, gold=3), 'gold label "3" is not one of entailment, neutral', id="gold number"),
        pytest.param(line(USER, gold=[["neutral"]]), "gold is not a string", id="gold in two lists"),
        pytest.param(line(USER, gold=[]), "gold is an empty list", id="gold empty"),
        pytest.param(line(USER, id=""), "the id is an empty string", id="empty id"),
        pytest.param(line(USER, id=True), "the id is not a string", id="boolean id"),
        pytest.param(line({"role": "user", "content": "a" * 10_000_000}), "longer than 1,048,576 bytes", id="10 MB"),
    ],
)
def test_invalid_row_is_named_by_file_line_and_rule(run, teacher, capsys, bad, rule):
    run.train = jsonl(nli_rows(1)) + bad + b"\n" + jsonl(nli_rows(2, 5))
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidData")
    assert result.message.startswith("1 row is invalid. No request was sent to the teacher.\n  train.jsonl, line 2: ")
    assert rule in result.message
    assert teacher.requests == []
    assert "Traceback" not in capsys.readouterr().err
    assert len(run.termination_message.encode()) <= 2048


def test_all_splits_are_checked_before_the_first_request(run, teacher):
    run.train = b"{\n" + jsonl(nli_rows(1))
    run.test = jsonl(nli_rows(3)) + b"[]\n"
    message = run.run().message
    assert "2 rows are invalid" in message
    assert "train.jsonl, line 1: not JSON" in message
    assert "test.jsonl, line 4: not a JSON object" in message
    assert teacher.requests == []


def test_a_rule_that_many_rows_break_is_said_once(run):
    run.train = b"3\n" * 33 + b"{\n"
    message = run.run().message
    assert message.startswith("34 rows are invalid")
    assert "train.jsonl, lines 1, 2, 3 and 30 more: not a JSON object" in message
    assert message.count("\n") == 2
    assert "train.jsonl, line 34: not JSON" in message


def test_only_the_first_twenty_rules_are_shown(run):
    run.train = [nli_row(number, gold=f"label {number}") for number in range(33)]
    message = run.run().message
    assert message.startswith("33 rows are invalid")
    assert "line 20:" in message
    assert "line 21:" not in message
    assert message.endswith("and 13 more")


def test_duplicate_id_is_named_with_the_earlier_line(run):
    run.train = [nli_row(1, id="a"), nli_row(2, id="b"), nli_row(3, id="a"), nli_row(4, id="train-2")]
    message = run.run().message
    assert 'train.jsonl, line 3: the id "a" is already that of line 1' in message


def test_two_splits_may_have_the_same_id(run):
    run.train, run.validation = [nli_row(1, id="a")], [nli_row(2, id="a")]
    run.generation = {"minSuccessRatio": 0.0}
    assert "the id" not in run.run().message


def test_line_of_maximum_length_is_read(run, teacher):
    shell = len(line({"role": "user", "content": ""}))
    run.train = line({"role": "user", "content": "a" * (1_048_576 - shell)}) + b"\n"
    run.generation = {"minSuccessRatio": 0.0}
    assert "invalid" not in run.run().message
    assert teacher.requests


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"], ids=["no byte", "blank lines", "mark only"])
def test_empty_file_is_an_error(run, content):
    run.validation = content
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidData")
    assert result.message == "data.validation: validation.jsonl contains no rows."


def test_missing_file_is_named_by_source_and_path(run, tmp_path):
    run.data = {"train": {"uri": "nli/gone.jsonl"}}
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidData")
    assert result.message == (f"data.train: nli/gone.jsonl (path {tmp_path}/nli/gone.jsonl): the file does not exist.")


def test_a_folder_without_rows(run, tmp_path):
    (tmp_path / "images").mkdir()
    run.data = {"train": {"uri": f"file://{tmp_path}/images"}}
    assert run.run().message.endswith(
        "/images: the folder holds no file of rows; their names end with .jsonl, .ndjson, .json, .csv, .tsv, .parquet,"
        " also compressed."
    )


def test_claim_that_is_not_mounted(run):
    run.data = {"train": {"uri": "pvc://datasets/train.jsonl"}}
    message = run.run().message
    assert message == ("data.train: pvc://datasets/train.jsonl: pvc://datasets is not mounted (mounted: nothing).")


def test_utf16_file_is_named_as_such(run):
    run.train = jsonl(nli_rows(1)).decode().encode("utf-16")
    assert "train.jsonl, line 1: the file is UTF-16; save it as UTF-8" in run.run().message


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_read(tmp_path):
    rows = nli_rows(3)
    gold = {row["messages"][0]["content"]: row["gold"] for row in [*rows, *nli_rows(6, 100), *nli_rows(3, 200)]}
    with gold_teacher(gold) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=b"\xef\xbb\xbf" + jsonl(rows).replace(b"\n", b"\r\n\r\n"))
        assert run.run().splits["train"].kept == 3
        assert [row["id"] for row in run.rows("train")] == ["train-1", "train-3", "train-5"]


def test_last_line_needs_no_line_break(run):
    run.train = jsonl(nli_rows(2)).rstrip()
    run.generation = {"minSuccessRatio": 0.0}
    assert "invalid" not in run.run().message


def test_one_premise_alone_cannot_be_split(run):
    run.test, run.validation = None, [nli_row(1), nli_row(1)]
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidData")
    assert "Set data.test, or provide more validation rows." in result.message
