"""The stage with a failing teacher: which requests are retried, which rows are rejected, and how it ends."""

import json
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat_faults import (
    chatty,
    closed_connection,
    content_filtered,
    content_refused,
    context_too_long,
    cut_off,
    empty,
    fenced,
    html_page,
    insufficient_quota,
    labelled,
    malformed_json,
    no_faults,
    rate_limited,
    reasoning_content,
    script,
    server_error,
    slow,
    think_span,
    trickling,
    unknown_model,
    verbatim,
    where,
    without_usage,
    wrong_key,
)
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher

GOLD = gold_of(nli_rows(12), nli_rows(6, 100), nli_rows(3, 200))
ROW = "Person 5 "
"""Only in the sixth training row."""


@pytest.fixture
def teacher():
    with gold_teacher(GOLD) as server:
        yield server


@pytest.fixture
def run(tmp_path, teacher):
    return GenerateRun(tmp_path, teacher.url, config={"maxAttempts": 2})


# --- transient failures


def test_next_run_asks_rows_again_after_a_transient_failure_and_nothing_else(run, teacher):
    run.generation = {"minSuccessRatio": 0}
    failing = ("Person 3 ", "Person 101 ", "Person 201 ")
    teacher.faults = lambda call: server_error(500) if any(text in call.text for text in failing) else None
    first = run.run()
    assert (first.exit_code, first.rows.kept, first.rows.rejected_by_reason) == (0, 19, {"http_500": 2})
    assert (first.rows.transient_failures, first.rows_revision) == (3, None)
    assert " 3 rows failed for a cause that may pass; another run asks them again." in first.message
    kept = run.rows("train")

    again = run.run()
    assert (again.rows.transient_failures, again.rows_revision) == (3, None)
    assert run.rows("train") == kept

    requests = len(teacher.requests)
    teacher.faults = no_faults
    last = run.run()
    assert (last.exit_code, last.rows.kept, last.rows.rejected, last.rows.transient_failures) == (0, 21, 0, 0)
    assert sorted(gold_key(request) for request in teacher.requests[requests:]) == sorted(failing)
    assert [row["answer"] for row in run.rows("test")] == ["contradiction", "entailment", "neutral"]
    assert len(last.rows_revision) == 8

    assert run.run() == last
    assert len(teacher.requests) == requests + 3


def gold_key(request):
    number = re.search(r"Person \d+ ", request.messages[-1]["content"])
    return number[0]


@pytest.mark.parametrize(
    "fault",
    [
        rate_limited(0),
        rate_limited(None),
        server_error(500),
        server_error(503),
        html_page(502),
        html_page(200),
        closed_connection(),
    ],
    ids=lambda fault: f"{fault.name} {fault.refused.status if fault.refused else ''}",
)
def test_transient_failure_is_retried_and_the_row_kept(run, teacher, fault):
    teacher.faults = where(ROW, fault, times=1)
    result = run.run()
    assert (result.exit_code, result.rows.kept) == (0, 21)
    assert len(teacher.requests) == 22


def test_retry_after_in_seconds_is_waited_for(run, teacher):
    teacher.faults = where(ROW, rate_limited(2), times=1)
    run.run()
    first, second = (request for request in teacher.requests if ROW in request.user_text)
    assert second.started - first.ended >= 2.0


def test_retry_after_as_a_date_is_waited_for(run, teacher):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    teacher.faults = where(ROW, rate_limited(date), times=1)
    started = time.monotonic()
    run.run()
    assert time.monotonic() - started >= 2.5


def test_waiting_row_does_not_delay_the_others(run, teacher):
    teacher.faults = where("Person 11 ", rate_limited(1), times=1)
    run.run()
    assert "Person 11 " in teacher.requests[-1].user_text


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (rate_limited(0), "http_429"),
        (server_error(500), "http_500"),
        (html_page(502), "http_502"),
        (html_page(200), "bad_response"),
        (closed_connection(), "connection_closed"),
    ],
)
def test_row_that_fails_at_every_attempt_is_rejected_with_the_reason(run, teacher, fault, reason):
    teacher.faults = where(ROW, fault)
    result = run.run()
    assert result.exit_code == 0
    assert result.rows.rejected_by_reason == {reason: 1}
    row = run.rows("rejected")[0]
    assert (row["split"], row["id"], row["line"], row["reply"]) == ("train", "train-6", 6, None)
    assert row["message"].endswith("(2 attempts)")
    assert len(teacher.requests) == 22


@pytest.mark.parametrize("fault", [slow(30), trickling()], ids=["slow", "trickling"])
def test_request_that_takes_too_long_is_abandoned(run, teacher, fault):
    teacher.faults = where(ROW, fault)
    run.config = {"maxAttempts": 1, "requestTimeoutSeconds": 0.7}
    result = run.run()
    assert result.rows.rejected_by_reason == {"timeout": 1}
    assert (
        run.rows("rejected")[0]["message"] == "No complete reply within 0.7 seconds (generation.requestTimeoutSeconds)."
    )


# --- rejections of one row


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (context_too_long(), "context_too_long"),
        (content_refused(), "content_filter"),
        (server_error(418), "http_418"),
    ],
)
def test_row_that_the_server_rejects_is_not_retried(run, teacher, fault, reason):
    teacher.faults = where(ROW, fault)
    result = run.run()
    assert result.exit_code == 0
    assert run.reasons() == [reason]
    assert len(teacher.requests) == 21


# --- replies that are no answer


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [
        (cut_off(), "truncated", 1),
        (malformed_json(), "bad_json", 2),
        (empty(), "empty", 1),
        (verbatim(None), "empty", 1),
        (content_filtered(), "content_filter", 1),
        (labelled("sideways"), "label_not_allowed", 2),
        (verbatim('{"answer_choice": 3}'), "label_not_allowed", 2),
        (verbatim('{"label": "neutral"}'), "bad_json", 2),
        (verbatim("It is neutral or a contradiction."), "several_labels", 2),
        (verbatim("This is not neutral."), "negated_label", 2),
    ],
)
def test_reply_without_an_answer_rejects_its_row(run, teacher, fault, reason, requests):
    run.generation = {"chainOfThought": True}
    teacher.faults = where(ROW, fault)
    result = run.run()
    assert result.exit_code == 0
    assert result.rows.rejected_by_reason == {reason: 1}
    assert run.rows("rejected")[0]["id"] == "train-6"
    assert len(teacher.requests) == 20 + requests


def test_rejected_row_keeps_the_reply_and_the_request(run, teacher):
    teacher.faults = where(ROW, verbatim("sideways"))
    run.run()
    row = run.rows("rejected")[0]
    assert row["reply"] == "sideways"
    assert row["requestId"].startswith("chatcmpl-")
    assert row["message"] == ("The reply 'sideways' names none of the labels: entailment, neutral, contradiction.")


@pytest.mark.parametrize(
    "fault",
    [fenced(), chatty(), think_span("It could be neutral."), reasoning_content("Maybe neutral."), without_usage()],
    ids=lambda fault: fault.name,
)
def test_readable_reply_is_kept_whatever_is_around_it(run, teacher, fault):
    run.generation = {"chainOfThought": True}
    teacher.faults = where(ROW, fault)
    result = run.run()
    assert result.rows.kept == 21
    assert run.rows("train")[5]["completion"][0]["content"] == "contradiction"


def test_reasoning_is_kept_apart_from_the_reply(run, teacher):
    teacher.faults = where("Person 200 ", think_span("Hm, reads and writes."))
    run.run()
    assert run.rows("test")[0]["reply"] == "contradiction"
    assert [line["reply"]["reasoning"] for line in run.journal() if line["reply"]["reasoning"]] == [
        "Hm, reads and writes."
    ]


@pytest.mark.parametrize(
    ("fault", "reason"), [(server_error(500), "http_500"), (empty(), "empty"), (cut_off(), "truncated")]
)
def test_held_out_row_without_an_answer_stays_and_fails_nothing(run, teacher, fault, reason):
    run.generation = {"chainOfThought": True, "minSuccessRatio": 1.0}
    teacher.faults = where("Person 20", fault)
    result = run.run()
    assert result.exit_code == 0
    assert [(row["answer"], row["reason"]) for row in run.rows("test")] == [(None, reason)] * 3


# --- parameters


def test_rejected_parameter_is_renamed_or_dropped_and_that_remembered(tmp_path):
    with gold_teacher(GOLD, refused_parameters=("max_tokens", "temperature", "response_format")) as teacher:
        run = GenerateRun(tmp_path, teacher.url, generation={"chainOfThought": True, "concurrency": 1})
        result = run.run()
        assert result.rows.kept == 21
        assert len(teacher.requests) == 25
        assert teacher.requests[-1].body.keys() == {"model", "messages", "top_p", "max_completion_tokens"}


def test_rejected_parameter_uses_up_no_attempt(tmp_path):
    with gold_teacher(GOLD, refused_parameters=("max_tokens", "max_completion_tokens", "top_p")) as teacher:
        assert GenerateRun(tmp_path, teacher.url, config={"maxAttempts": 1}).run().rows.kept == 21


# --- the server rejects all requests


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (wrong_key(), "The API key was rejected."),
        (server_error(403), "The API key does not permit this."),
        (unknown_model(), 'There is no model "teacher", or no API at that address'),
        (insufficient_quota(), "The account's quota is exhausted"),
        (server_error(402), "The account's quota is exhausted"),
    ],
)
def test_server_that_rejects_all_requests_ends_the_stage_at_once(run, teacher, fault, words):
    run.generation = {"concurrency": 2}
    teacher.faults = script([None, None, *[fault] * 30])
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TeacherRejected")
    assert result.message.startswith(f"Teacher tester (teacher at {teacher.url}): {words}")
    assert len(teacher.requests) <= 5
    assert len(run.rows("train")) >= 1
    assert result.rows.kept >= 1


def test_wrong_key_names_secret_and_key(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_API_KEY_0", "wrong")
    with gold_teacher(GOLD, api_key="right") as teacher:
        run = GenerateRun(
            tmp_path,
            teacher.url,
            teacher={"apiKey": {"secretName": "teacher-keys", "key": "first"}},
            config={"apiKeyVariables": {"teacher-keys/first": "DISTILLERY_API_KEY_0"}},
        )
        message = run.run().message
        assert "Check the key first of the Secret teacher-keys (generation.teachers: apiKey)." in message
        assert "wrong" not in message


def test_empty_key_is_reported_before_any_request(run, teacher, monkeypatch):
    monkeypatch.setenv("DISTILLERY_API_KEY_0", " \n")
    run.teacher = {"apiKey": {"secretName": "teacher-keys"}}
    run.config = {"apiKeyVariables": {"teacher-keys/api-key": "DISTILLERY_API_KEY_0"}}
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TeacherRejected")
    assert "its API key is empty. Check the key api-key of the Secret teacher-keys" in result.message
    assert teacher.requests == []


def test_key_is_sent_and_is_in_no_file_and_no_log(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DISTILLERY_API_KEY_0", "sk-very-secret\n")
    # A server that repeats the key in its error.
    response = server_error(400)
    body = {"error": {"message": "You sent sk-very-secret, which is odd.", "code": "odd"}}
    repeats = type(response)("repeats", refused=type(response.refused)(400, body))
    with gold_teacher(GOLD, api_key="sk-very-secret", faults=where(ROW, repeats)) as teacher:
        run = GenerateRun(
            tmp_path,
            teacher.url,
            teacher={"apiKey": {"secretName": "teacher-keys"}},
            config={"apiKeyVariables": {"teacher-keys/api-key": "DISTILLERY_API_KEY_0"}},
        )
        assert run.run().rows.kept == 20
        assert run.rows("rejected")[0]["message"] == "HTTP 400: You sent ***, which is odd."
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if b"sk-very-secret" in path.read_bytes()]
    assert "sk-very-secret" not in "".join(capfd.readouterr())


def test_no_key_and_nothing_of_this_machine_is_sent(run, teacher, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.setenv("OPENAI_ORG_ID", "my-organisation")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "my-project")
    run.run()
    sent = json.dumps(dict(teacher.requests[0].headers))
    assert "Authorization" not in sent
    assert "mine" not in sent
    assert "my-organisation" not in sent
    assert "my-project" not in sent


# --- unreachable servers


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_unreachable_teacher_is_to_be_tried_later(run):
    run.endpoint = f"http://127.0.0.1:{free_port()}/v1"
    result = run.run()
    assert (result.exit_code, result.reason) == (3, "TeacherUnreachable")
    assert result.message.startswith("Teacher tester (teacher at http://127.0.0.1:")
    assert "cannot be reached (2 attempts)" in result.message
    assert result.rows.rejected == 0


def test_teacher_at_a_host_that_does_not_exist_is_not_tried_again(run):
    run.endpoint = f"http://no-such-host.invalid:{free_port()}/v1"
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TeacherRejected")
    assert "There is no host of this name: correct the address of the server." in result.message
    assert result.rows.rejected == 0


def test_teacher_that_never_answers_is_to_be_tried_later(run, teacher):
    teacher.faults = lambda call: server_error(503)
    result = run.run()
    assert (result.exit_code, result.reason) == (3, "TeacherUnreachable")
    assert "did not answer the first request: HTTP 503" in result.message


def test_next_attempt_asks_failed_rows_again(run, teacher):
    teacher.faults = lambda call: server_error(503) if call.number % 2 else None
    run.config = {"maxAttempts": 1}
    assert run.run().exit_code == 2
    teacher.faults = lambda call: None
    before = len(teacher.requests)
    assert run.run().rows.kept == 21
    assert before < len(teacher.requests) < before + 21
