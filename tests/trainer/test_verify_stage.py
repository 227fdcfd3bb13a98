"""The verify stage against servers on loopback that answer as the evaluation did, otherwise, slowly, or not at all."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chat_faults as faults
from chat_protocol import Answer
from chat_server import TeacherServer
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.spec import NLI_LABELS
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_trainer.runtime.errors import TryLater
from distillery_trainer.runtime.machine_load import other_load
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.verification import measurement
from distillery_trainer.verification.comparison import alike
from distillery_trainer.verification.evaluated_rows import EvaluatedRow, rows_to_ask, without_prompt
from distillery_trainer.verification.served_student import ServedReply, ServedStudent
from train_evaluate_run import TrainEvaluateRun, chat, held_out_row, read_rows, write_rows

ROWS = 40


def prediction(number: int, reply: str | None, **changes: Any) -> dict[str, Any]:
    """The student's line of a row in predictions.jsonl."""
    answer = reply if reply in NLI_LABELS else None
    line = {"id": f"test-{number}", "gold": "neutral", "system": "student", "reply": reply, "answer": answer}
    return {**line, **changes}


def label(number: int) -> str:
    return NLI_LABELS[number % 3]


@dataclass
class VerifyRun:
    """A workspace after the evaluate stage, and verify as a process of its own."""

    workspace: Path
    replies: Mapping[int, str | None] = field(default_factory=lambda: {n: label(n) for n in range(ROWS)})
    """The student's replies in the evaluation, by row number."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        test = [held_out_row(number) for number in self.replies]
        self.run = TrainEvaluateRun(self.workspace, self.workspace / "base", test=test, **self.settings)
        of_others = [prediction(number, "teacher's", system="teacher") for number in self.replies]
        student = [prediction(number, reply) for number, reply in self.replies.items()]
        write_rows(self.run.folder(Stage.EVALUATE) / "predictions.jsonl", [*of_others, *student])

    def config(self, url: str) -> RunConfig:
        config = self.run.config(Stage.VERIFY)
        return config.model_copy(update={"server_url": url})

    def __call__(self, url: str, **variables: str) -> tuple[int, StageResult]:
        path = self.workspace / "verify.json"
        path.write_text(self.config(url).model_dump_json(by_alias=True))
        command = [sys.executable, "-m", "distillery_trainer", "verify", "--config", str(path)]
        environment = {**os.environ, **variables}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in process.stderr, process.stderr
        return process.returncode, self.run.result(Stage.VERIFY)


def student_server(run: VerifyRun, differs: Mapping[int, str] | None = None, **options: Any) -> TeacherServer:
    """A server that answers as the evaluation did, except for the rows that `differs` names."""
    by_text = {
        held_out_row(number)["studentPrompt"][-1]["content"]: (differs or {}).get(number, reply)
        for number, reply in run.replies.items()
    }
    answer = lambda messages: Answer(str(by_text[messages[-1]["content"]]))  # noqa: E731
    return TeacherServer(answer, **{"models": ("tiny",), **options})


def test_a_server_that_answers_as_the_evaluation_did_is_verified(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run, latency=0.02) as server:
        code, result = run(server.url)
        requests = server.requests
    assert (code, result.reason) == (0, Reason.SUCCEEDED)
    found = result.verification
    assert (found.rows, found.alike, found.required_share, found.calls) == (16, 16, 0.95, 20)
    assert 0.02 <= found.latency_seconds < 1
    assert result.message == f"16 of 16 rows answered as in the evaluation; {found.latency()} per request"
    assert [request.body["messages"] for request in requests[16:20]] == [
        held_out_row(number)["studentPrompt"] for number in range(4)
    ]
    assert server.peak_in_flight == 4


def test_a_verified_server_is_measured_for_several_clients(tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "LOAD_SECONDS", 0.5)
    row = EvaluatedRow("test-0", [{"role": "user", "content": "a"}], "neutral", "neutral")
    with TeacherServer(lambda messages: Answer("neutral"), models=("tiny",), latency=0.05) as server:
        student = ServedStudent(server.url, "tiny", 16)
        alone = [student.ask(row.messages) for _ in range(3)]
        found = measurement.measure(student, [row], alone)
    tokens = alone[0].output_tokens
    assert found.concurrent_requests == 4
    assert 0.05 <= found.latency_p50_seconds <= found.latency_p95_seconds < 5
    assert found.requests >= 4
    assert found.requests_per_second * tokens == pytest.approx(found.concurrent_tokens_per_second, rel=0.05)
    assert found.tokens_per_second <= tokens / 0.05


@pytest.mark.parametrize(
    "reply",
    [ServedReply("neutral", seconds=0.1), ServedReply("neutral", seconds=3.0, output_tokens=2), ServedReply(None)],
)
def test_a_server_without_counts_or_too_slow_is_not_measured(reply):
    row = EvaluatedRow("test-0", [{"role": "user", "content": "a"}], "neutral", "neutral")
    assert measurement.measure(ServedStudent("http://127.0.0.1:9/v1", "tiny", 16), [row], [reply] * 3) is None


def test_a_server_that_fails_under_load_is_not_measured():
    row = EvaluatedRow("test-0", [{"role": "user", "content": "a"}], "neutral", "neutral")
    alone = [ServedReply("neutral", seconds=0.1, output_tokens=2)]
    assert (
        measurement.measure(ServedStudent("http://127.0.0.1:9/v1", "tiny", 16, retry_seconds=0), [row], alone) is None
    )


def test_a_request_is_that_of_a_user(tmp_path):
    # No sampling parameter: the server's own are what reaches a user.
    run = VerifyRun(tmp_path)
    with student_server(run) as server:
        run(server.url)
        first = server.requests[0].body
    assert first == {"model": "tiny", "messages": held_out_row(0)["studentPrompt"], "max_tokens": 32}


def test_a_baked_prompt_is_not_sent_and_a_rows_own_system_message_is(tmp_path):
    run = VerifyRun(tmp_path, settings={})
    prompt = held_out_row(0)["studentPrompt"][0]["content"]
    (run.run.folder(Stage.GENERATE) / "student-prompt.txt").write_text(prompt)
    config = run.config("http://127.0.0.1:9/v1").model_copy(update={"bakes_prompt": True})
    run.config = lambda url: config.model_copy(update={"server_url": url})  # type: ignore[method-assign]
    with student_server(run) as server:
        assert run(server.url)[0] == 0
        first = server.requests[0].body
    assert first["messages"] == held_out_row(0)["studentPrompt"][1:]
    row = EvaluatedRow("test-0", [{"role": "system", "content": "own"}, {"role": "user", "content": "a"}], "b", "b")
    assert without_prompt(row, prompt) == row


def test_the_key_of_clients_is_sent_without_the_line_break_of_its_file(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run, api_key="sk-of-clients") as server:
        assert run(server.url, DISTILLERY_SERVING_API_KEY="sk-of-clients\n")[0] == 0
        code, result = run(server.url, DISTILLERY_SERVING_API_KEY="sk-of-others")
    assert (code, result.reason) == (2, Reason.VERIFICATION_FAILED)
    assert result.message == (
        f"The student's server at {server.url} refuses the API key of serving.apiKey (HTTP 401). Restart the server"
        " after a change of the Secret (annotation distillery.dev/restart-at), and store the key without a line break"
        " at its end."
    )


def test_an_empty_key_is_no_key(tmp_path):
    run = VerifyRun(tmp_path)
    code, result = run("http://127.0.0.1:9/v1", DISTILLERY_SERVING_API_KEY="")
    assert (code, result.reason) == (2, Reason.CONFIGURATION_MISSING)
    assert "serving.apiKey) is empty. Correct the Secret." in result.message


def test_a_server_that_answers_otherwise_fails_and_one_row_is_shown(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run, differs={1: "Neutral", 5: "entailment", 30: "no"}) as server:
        code, result = run(server.url)
    assert (code, result.reason) == (2, Reason.VERIFICATION_FAILED)
    path = f"{result.folder}/served-replies.jsonl"
    assert result.message == (
        "The served student answered 3 of 40 rows otherwise than in the evaluation."
        f' test-1, in the evaluation: "neutral"; from its server: "Neutral". All of them: {path}'
    )
    assert result.files == {"servedReplies": path}
    rows = read_rows(tmp_path / path)
    assert [row["id"] for row in rows if not row["alike"]] == ["test-1", "test-5", "test-30"]
    assert rows[1] | {"latencySeconds": 0} == {
        "id": "test-1",
        "evaluated": "neutral",
        "served": "Neutral",
        "problem": None,
        "alike": False,
        "latencySeconds": 0,
    }


@pytest.mark.parametrize(
    ("rows", "different", "code", "compared"),
    [
        (40, {7: "x"}, 0, 40),  # one answer in forty may be chance
        (40, {7: "x", 20: "x"}, 0, 40),
        (40, {7: "x", 20: "x", 39: "x"}, 2, 40),
        (16, {7: "x"}, 2, 16),  # with fewer rows, nobody can tell
        (90, {7: "x"}, 0, 64),
        (90, {1: "x", 2: "x", 3: "x", 4: "x"}, 2, 16),  # too many to be chance
        (90, {20: "x", 21: "x"}, 0, 16),  # only the first 16 decide whether there are more
    ],
)
def test_a_label_that_differs_is_followed_by_more_rows(tmp_path, rows, different, code, compared):
    run = VerifyRun(tmp_path, replies={n: label(n) for n in range(rows)})
    with student_server(run, differs=different) as server:
        found, result = run(server.url)
    assert found == code, result.message
    stored = read_rows(tmp_path / result.folder / "served-replies.jsonl")
    assert len(stored) == compared


def test_a_server_that_an_earlier_attempt_verified_is_verified_again(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run) as server:
        assert run(server.url)[0] == 0
    with student_server(run, differs={0: "neutral", 3: "x", 4: "x"}) as server:
        assert run(server.url)[0] == 2


def test_a_proxy_of_the_environment_is_not_used(tmp_path):
    run = VerifyRun(tmp_path)
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with student_server(run) as server:
        assert run(server.url, no_proxy="", **proxies)[0] == 0


def test_a_server_that_restarts_is_waited_for(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run, faults=faults.script([faults.server_error(503)])) as server:
        assert run(server.url)[0] == 0


def test_a_refused_request_is_a_difference_with_the_servers_words(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run, models=("another",)) as server:
        code, result = run(server.url)
    assert code == 2
    assert result.message.startswith(
        "The served student answered 16 of 16 rows otherwise than in the evaluation."
        ' test-0, in the evaluation: "entailment"; from its server: HTTP 404: The model `tiny` does not exist.'
    )


def test_a_maximum_that_does_not_fit_the_servers_context_is_left_out(tmp_path):
    run = VerifyRun(tmp_path)
    with student_server(run, context_tokens=50) as server:
        assert run(server.url)[0] == 0
        assert ["max_tokens" in request.body for request in server.requests[:2]] == [True, False]


def test_few_rows_are_sent_more_than_once(tmp_path):
    run = VerifyRun(tmp_path, replies={0: "neutral", 1: "neutral", 2: "entailment"})
    with student_server(run) as server:
        _, result = run(server.url)
    assert (result.verification.rows, result.verification.calls) == (3, 20)


def test_without_a_reply_of_the_student_there_is_nothing_to_compare(tmp_path):
    run = VerifyRun(tmp_path, replies={0: None, 1: None})
    code, result = run("http://127.0.0.1:9/v1")
    assert (code, result.reason) == (2, Reason.VERIFICATION_FAILED)
    assert result.message.startswith("The evaluation holds no reply of the student that can be read (")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("predictions.jsonl", '{"id": "test-0"', "holds no reply of the student that can be read"),
        ("predictions.jsonl", '{"id": "test-0"}\n', "'system'"),
        ("predictions.jsonl", "[]\n", "holds no reply of the student that can be read"),
        ("predictions.jsonl", None, "No such file or directory"),
    ],
)
def test_an_evaluation_that_cannot_be_read_is_named(tmp_path, file, content, words):
    run = VerifyRun(tmp_path)
    path = run.run.folder(Stage.EVALUATE) / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    code, result = run("http://127.0.0.1:9/v1")
    assert (code, result.reason) == (2, Reason.VERIFICATION_FAILED)
    assert words in result.message


SUMMARY = "The council closed the old bridge on Monday because its northern pillar had moved by two centimetres."
PROSE = {
    "task": "Summarization",
    "labels": (),
}


@pytest.mark.parametrize(("different", "code"), [(8, 0), (9, 2)])
def test_of_prose_half_of_the_rows_must_be_alike(tmp_path, different, code):
    run = VerifyRun(tmp_path, replies=dict.fromkeys(range(16), SUMMARY), settings=PROSE)
    differs = dict.fromkeys(range(different), "Something else was said about a bridge.")
    with student_server(run, differs=differs) as server:
        found, result = run(server.url)
    assert found == code, result.message


CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'


# --- one request


def ask(server_url: str, **limits: float) -> ServedReply:
    student = ServedStudent(server_url, "tiny", 8, retry_seconds=0.05, **{"patience_seconds": 0.3, **limits})
    return student.ask(chat("Premise: one.\nHypothesis: two."))


def test_a_dead_server_is_tried_again_later():
    with TeacherServer(lambda _: Answer("neutral")) as server:
        url = server.url
    with pytest.raises(TryLater, match=r"does not answer: .*Connection refused") as raised:
        ask(url)
    assert raised.value.reason is Reason.VERIFICATION_FAILED


def test_a_slow_server_is_tried_again_later():
    slow = TeacherServer(lambda _: Answer("neutral"), models=("tiny",), latency=30)
    with slow as server, pytest.raises(TryLater, match=r"does not answer: no reply within 0\.2 s"):
        ask(server.url, request_seconds=0.2)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (faults.server_error(500), "does not answer: HTTP 500"),
        (faults.rate_limited(None), "does not answer: HTTP 429"),
        (faults.html_page(502), "does not answer: HTTP 502"),
        (faults.dropped_connection(), "does not answer: "),
        (faults.closed_connection(), "does not answer: "),
    ],
)
def test_what_may_pass_is_tried_again_later(fault, problem):
    always = TeacherServer(lambda _: Answer("neutral"), models=("tiny",), faults=lambda _: fault)
    with always as server, pytest.raises(TryLater, match=problem):
        ask(server.url)


@pytest.mark.parametrize(
    ("body", "text", "problem"),
    [
        (b'{"choices": [{"message": {"content": "neutral"}}]}', "neutral", ""),
        (b'{"choices": [{"message": {"content": null}}]}', "", ""),
        (b'{"choices": [{"message": {"content": 3}}]}', None, "no chat completion"),
        (b'{"choices": [{"message": {"content": "\\ud800"}}]}', None, "no chat completion"),
        (b'{"choices": []}', None, "no chat completion"),
        (b"[" * 100_000, None, "no chat completion"),
        (b"null", None, "no chat completion"),
        (b"<html>", None, "no chat completion"),
        (b"", None, "no chat completion"),
    ],
)
def test_every_body_is_a_reply_or_is_called_none(body, text, problem):
    with raw_server(body) as url:
        served = ask(url)
    assert (served.text, served.problem) == (text, problem)


@contextmanager
def raw_server(body: bytes) -> Iterator[str]:
    """A server that sends the same body to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


# --- which rows, and which replies are alike


def rows(*answers: str | None) -> list[EvaluatedRow]:
    return [EvaluatedRow(str(number), [], "…", answer) for number, answer in enumerate(answers)]


def chosen(*answers: str | None) -> list[str]:
    return [row.id for row in rows_to_ask(rows(*answers))]


def test_rows_are_spread_over_the_answers():
    assert chosen("a", "a", "a", "b", "a", "c") == ["0", "3", "5", "1", "2", "4"]
    assert [row.answer for row in rows_to_ask(rows(*["a"] * 90, *["b"] * 9, "c"))].count("b") == 9
    assert chosen(*["a"] * 90) == [str(number) for number in range(64)]


def test_cut_off_replies_come_last():
    assert chosen(None, "a", None, "b") == ["1", "3", "0", "2"]


LABEL, SUMMARY_KIND = AnswerKind.LABEL, AnswerKind.SUMMARY


@pytest.mark.parametrize(
    ("kind", "evaluated", "served", "expected"),
    [
        (LABEL, "neutral", "neutral", True),
        (LABEL, "neutral", " neutral\n", True),
        (LABEL, "neutral", "Neutral", False),
        (LABEL, "neutral", "neutral.", False),
        (LABEL, "neutral", "neutral because", False),
        (LABEL, "neutral", "", False),
        # A template that adds an empty think block to what users read.
        (LABEL, "neutral", "<think>\n\n</think>\n\nneutral", False),
        (LABEL, "<think>a</think>neutral", "<think>b, c</think>neutral", True),
        (LABEL, "<think>a</think>neutral", "neutral", False),
        (LABEL, "<think>a</think>neutral", "<think>a</think>entailment", False),
        (AnswerKind.NUMBER, "72", "72", True),
        (AnswerKind.NUMBER, "72", "72.0", False),
        (AnswerKind.NUMBER, "72", "-72", False),
        (SUMMARY_KIND, SUMMARY, SUMMARY, True),
        (SUMMARY_KIND, SUMMARY, SUMMARY.replace("two", "three"), True),
        (SUMMARY_KIND, SUMMARY, SUMMARY + " " + SUMMARY.upper()[:60], True),
        (SUMMARY_KIND, SUMMARY, "A bridge was closed.", False),
        (SUMMARY_KIND, SUMMARY, "", False),
        (SUMMARY_KIND, "", "", True),
        (SUMMARY_KIND, "桥在周一关闭。", "桥在周一关闭。", True),
        (AnswerKind.TEXT, SUMMARY, f"<think></think>{SUMMARY}", False),
        (AnswerKind.CALLS, f"<tool_call>\n{CALL}\n</tool_call>", f"[{CALL}]", True),
        (AnswerKind.CALLS, f"<tool_call>\n{CALL}\n</tool_call>", f"[{CALL}, {CALL}]", False),
        (AnswerKind.CALLS, f"<tool_call>\n{CALL}\n</tool_call>", SUMMARY, False),
        (AnswerKind.CALLS, SUMMARY, f"[{CALL}]", False),
        (AnswerKind.CALLS, SUMMARY, f"{SUMMARY} Again.", True),
        (AnswerKind.CALLS, "<tool_call>{", "<tool_call>[", False),
    ],
)
def test_replies_are_alike(kind, evaluated, served, expected):
    assert alike(kind, evaluated, served) is expected


@settings(deadline=None)
@given(st.text(), st.sampled_from(AnswerKind))
def test_every_reply_is_like_itself(text, kind):
    assert alike(kind, text, text)


def test_the_load_is_a_share_or_unknown():
    load = other_load()
    assert load is None or 0 <= load <= 1
