"""From rows to a served student on one machine, with a tiny model: what a user sees, and what is left in the folder."""

import json
import os
import pty
import signal
import socket
import subprocess
import urllib.request

import pytest

from command_line_run import PROGRAM, CommandLineRun, finished, quiet_environment
from distillery_api.runtime.line_checksums import checksums_path
from generate_run import gold_of, nli_rows
from teacher_server import gold_teacher
from tiny_model import write_tiny_model

GOLD = gold_of(nli_rows(24), nli_rows(6, 100), nli_rows(12, 200))
SYSTEMS = ("teacher", "baseTeacherPrompt", "base", "student", "majority", "shallow")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A run whose every stage is done, with what it printed."""
    root = tmp_path_factory.mktemp("local")
    write_tiny_model(root / "student")
    with gold_teacher(GOLD) as teacher:
        run = CommandLineRun(root, teacher.url, generation={"chainOfThought": True, "sampling": {"maxTokens": 64}})
        run.first = run.run()
        yield run


def test_whole_path_ends_with_the_table(local):
    assert local.first.exit_code == 0, local.first.text
    printed = local.first.stdout
    assert "Accuracy on 12 held-out rows, against gold" in printed
    for name in ("Teacher", "Base model", "Student", "Majority", "Shallow"):
        assert any(line.strip().startswith(name) for line in printed.splitlines())
    assert "12 held-out rows are a small sample" in printed
    assert "Rows: 42 read" in printed
    assert f"Serve the student: distillery serve {local.out}" in printed


def test_result_has_every_figure_and_every_path(local):
    result = local.result
    assert (result["name"], result["state"], result["reason"]) == ("tiny", "Done", "Succeeded")
    assert all(0 <= result["evaluation"][name]["score"] <= 1 for name in SYSTEMS)
    assert "gapClosed" in result["evaluation"]
    assert result["evaluation"]["sampleSize"] == 12
    assert result["usage"]["requests"] >= 42
    assert result["rows"]["read"] == result["rows"]["kept"] + result["rows"]["rejected"] == 42
    for name in ("train", "validation", "rejected", "adapter", "model", "predictions"):
        assert (local.out / result["files"][name]).exists()
    assert not os.path.isabs(result["files"]["model"])


def test_second_run_says_that_nothing_is_left_to_do(local):
    ended = local.run()
    assert ended.exit_code == 0
    assert "Nothing left to do: all stages are done." in ended.stdout
    assert "Accuracy on 12 held-out rows" in ended.stdout


def test_another_endpoint_of_the_same_teacher_changes_nothing(local):
    before = local.endpoint
    local.endpoint = "http://127.0.0.1:9/v1"
    try:
        assert "Nothing left to do" in local.run().stdout
    finally:
        local.endpoint = before


def test_terminal_shows_a_bar_for_each_stage(local):
    controller, terminal = pty.openpty()
    command = [str(PROGRAM), "run", str(local.manifest), "--out", str(local.out)]
    environment = {**quiet_environment(), "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = read_all(controller)
    assert process.wait() == 0
    for stage in ("generate", "train", "evaluate"):
        assert stage in shown
    assert shown.count("already done") >= 3
    assert "━" in shown


def read_all(controller):
    chunks = []
    while True:
        try:
            chunk = os.read(controller, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        chunks.append(chunk)
    return b"".join(chunks).decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_served_student_answers_under_its_name(local):
    port = free_port()
    process = serve(local, port)
    try:
        first = process.stdout.readline()
        assert first.startswith("Loading ")
        assert process.stdout.readline().startswith("12 of 12 rows answered as in the evaluation; ")
        assert process.stdout.readline().startswith(f"Serving tiny at http://127.0.0.1:{port}/v1")
        assert "curl" in process.stdout.readline()
        reply = ask(port, {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4})
        assert isinstance(reply["choices"][0]["message"]["content"], str)
        models = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=30))
        assert isinstance(models["data"], list)
    finally:
        process.send_signal(signal.SIGINT)
        ended = finished(process)
    assert ended.exit_code == 0


def test_a_verified_students_latency_is_in_the_table(local):
    printed = local.run().stdout
    verification = local.result["verification"]
    assert (verification["rows"], verification["alike"], verification["calls"]) == (12, 12, 20)
    (student,) = (line.strip() for line in printed.splitlines() if line.strip().startswith("Student "))
    assert student.endswith(f"{verification['latencySeconds']:.2f}s")
    assert ", student through its server" in printed


def test_a_student_that_answers_otherwise_is_not_served(local):
    predictions = local.out / local.result["files"]["predictions"]
    checksums = checksums_path(predictions)
    before, sums = predictions.read_text(), checksums.read_bytes()
    checksums.unlink()  # with them, a changed line would be a damaged one
    lines = [json.loads(line) for line in before.splitlines()]
    next(line for line in lines if line["system"] == "student")["reply"] = "neutral"
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        ended = finished(serve(local, free_port()))
    finally:
        predictions.write_text(before)
        checksums.write_bytes(sums)
    assert ended.exit_code == 2
    assert "The served student answered 1 of 12 rows otherwise than in the evaluation." in ended.stderr
    assert "Serving tiny" not in ended.stdout


def serve(local, port):
    command = [str(PROGRAM), "serve", str(local.out), "--port", str(port)]
    environment = {**quiet_environment(), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ask(port, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def test_taken_port_is_reported(local):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = finished(serve(local, other.getsockname()[1]))
    assert ended.exit_code == 2
    assert "Address already in use; use another --port or --host" in ended.stderr


@pytest.mark.parametrize(
    ("missing", "words"),
    [("tokenizer.json", "tokenizer"), ("chat_template.jinja", "chat template")],
)
def test_student_without_its_parts_is_named_before_the_first_request(local, tmp_path, missing, words):
    write_tiny_model(tmp_path / "student")
    (tmp_path / "student" / missing).unlink()
    broken = CommandLineRun(tmp_path, local.endpoint)
    ended = broken.run()
    assert ended.exit_code == 2
    assert "student.model.uri: student: " in ended.stderr
    assert words in ended.stderr
    result = broken.result
    assert (result["state"], result["reason"]) == ("Failed", "InvalidModel")
    assert "train" not in result["files"]
    assert list((tmp_path / "out").glob("replies/*.jsonl")) == []
