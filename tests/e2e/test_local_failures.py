"""What can go wrong before there is a student: each gets a sentence, a result, and loses nothing that was paid for."""

import json
import socket
import time

import pytest

from chat_faults import content_refused, context_too_long, cut_off, labelled, rate_limited, unknown_model, wrong_key
from command_line_run import CommandLineRun, press_control_c
from generate_run import gold_of, jsonl, nli_row, nli_rows
from teacher_server import gold_teacher

GOLD = gold_of(nli_rows(24), nli_rows(6, 100), nli_rows(12, 200))


def always(fault):
    return lambda call: fault


@pytest.fixture
def teacher():
    with gold_teacher(GOLD) as server:
        yield server


@pytest.fixture
def local(tmp_path, teacher):
    return CommandLineRun(tmp_path, teacher.url)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_until_generate_ends_with_the_rows(local, teacher):
    ended = local.run("--until", "generate")
    assert ended.exit_code == 0, ended.text
    assert "Rows: 42 read, 42 kept, 0 rejected." in ended.stdout
    assert local.result["state"] == "Done"
    assert local.result["message"] == "all stages up to generate are done"
    assert len((local.out / local.result["files"]["train"]).read_text().splitlines()) == 24
    assert len(teacher.requests) == 42


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        pytest.param(wrong_key(), "TeacherRejected", "The API key was rejected.", id="401"),
        pytest.param(unknown_model(), "TeacherRejected", 'There is no model "teacher"', id="404"),
        pytest.param(context_too_long(), "GenerationFailed", "context_too_long 5", id="context too long"),
        pytest.param(content_refused(), "GenerationFailed", "content_filter 5", id="content filter"),
        pytest.param(cut_off(), "TooFewRows", "truncated", id="cut off"),
        pytest.param(labelled("sideways"), "TooFewRows", "label_not_allowed", id="wrong label"),
    ],
)
def test_teacher_that_fails_for_good_ends_the_run_with_its_reason(local, teacher, fault, reason, words):
    teacher.faults = always(fault)
    ended = local.run()
    assert ended.exit_code == 2, ended.text
    assert words in ended.stderr
    assert (local.result["state"], local.result["reason"]) == ("Failed", reason)
    assert words in local.result["message"]
    assert local.result["evaluation"] is None


def test_failure_reports_rows_usage_and_where_the_rejected_ones_are(local, teacher):
    teacher.faults = lambda call: cut_off() if call.number % 2 else None
    local.run()
    result = local.result
    assert result["reason"] == "TooFewRows"
    assert result["rows"]["rejectedByReason"]["truncated"] >= 8
    assert result["usage"]["requests"] == len(teacher.requests)
    rejected = (local.out / result["files"]["rejected"]).read_text().splitlines()
    assert json.loads(rejected[0])["reason"] == "truncated"


def test_next_run_pays_for_nothing_twice(local, teacher):
    teacher.faults = lambda call: cut_off() if call.number % 2 else None
    local.run()
    paid = {request.user_text for request in teacher.requests if request.fault is None}
    teacher.faults = always(None)
    before = len(teacher.requests)
    local.generation = {"minSuccessRatio": 0.2}
    assert local.run("--until", "generate").exit_code == 0
    assert len(teacher.requests) > before
    assert not paid & {request.user_text for request in teacher.requests[before:]}


def test_unreachable_teacher_fails_the_run_after_the_retries(tmp_path):
    local = CommandLineRun(tmp_path, f"http://127.0.0.1:{closed_port()}/v1")
    ended = local.run("--retries", "0")
    assert ended.exit_code == 3
    assert (local.result["state"], local.result["reason"]) == ("Failed", "TeacherUnreachable")
    assert "cannot be reached" in ended.stderr


def test_budget_ends_the_run_with_everything_kept(local):
    local.generation = {"budget": {"maxTokens": 1500}, "concurrency": 1}
    ended = local.run()
    assert ended.exit_code == 2
    result = local.result
    assert result["reason"] == "BudgetExceeded"
    assert 0 < result["rows"]["kept"] < 42
    assert 0 < result["usage"]["inputTokens"] + result["usage"]["outputTokens"] <= 1500


def test_bad_rows_are_named_by_file_and_line(local, teacher):
    long_line = json.dumps({"messages": [{"role": "user", "content": "a" * 10_000_000}]}).encode()
    bad = [b"{oops", b'{"messages": [{"role": "system", "content": "a"}]}', b'{"messages": "a\0b"}', long_line]
    local.train = jsonl(nli_rows(1)) + b"".join(line + b"\n" for line in bad)
    local.validation = jsonl([nli_row(1, id="same"), nli_row(2, id="same")])
    local.test = jsonl([nli_row(1, "maybe"), nli_row(2, messages=[{"role": "user", "content": ""}])])
    ended = local.run()
    assert ended.exit_code == 2
    for sentence in (
        "train.jsonl, line 2: not JSON",
        "train.jsonl, line 3: the row has no user message",
        "train.jsonl, line 4: the line contains a NUL byte",
        "train.jsonl, line 5: the line is longer than 1,048,576 bytes",
        'validation.jsonl, line 2: the id "same" is already that of line 1',
        'test.jsonl, line 1: the gold label "maybe"',
        "test.jsonl, line 2: message 1: the content is an empty string",
    ):
        assert sentence in ended.stderr
        assert sentence in local.result["message"]
    assert local.result["reason"] == "InvalidData"
    assert teacher.requests == []


def test_empty_file_is_named(local):
    local.train = b""
    assert local.run().exit_code == 2
    assert local.result["message"] == "generate: data.train: train.jsonl contains no rows."


def test_byte_order_mark_and_windows_line_endings_are_accepted(local):
    local.train = b"\xef\xbb\xbf" + jsonl(nli_rows(24)).replace(b"\n", b"\r\n")
    assert local.run("--until", "generate").exit_code == 0
    assert local.result["rows"]["kept"] == 42


def test_workspace_of_another_run_is_left_alone(local):
    local.run("--until", "generate")
    other = CommandLineRun(local.root, local.endpoint, name="other")
    ended = other.run()
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"{local.out} is the workspace of tiny, not of other; choose another folder")
    assert local.result["name"] == "tiny"


def test_control_c_loses_nothing_and_says_how_to_resume(local, teacher):
    with gold_teacher(GOLD, latency=0.3) as slow_teacher:
        local.endpoint, local.generation = slow_teacher.url, {"concurrency": 2}
        process = local.start()
        wait_for_requests(slow_teacher, 9, process)
        press_control_c(process)
        stderr = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert "Stopped. All finished work is saved. To resume, run: distillery run" in stderr
        assert (local.result["state"], local.result["reason"]) == ("Interrupted", "Terminated")
        answered = {request.user_text for request in slow_teacher.requests if request.status == 200}
        assert 7 <= len(answered) < 42
    local.endpoint = teacher.url
    assert local.run("--until", "generate").exit_code == 0
    assert not answered & {request.user_text for request in teacher.requests}
    assert local.result["rows"]["kept"] == 42


def test_reader_that_goes_away_does_not_end_the_run(local):
    process = local.start("--until", "generate")
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert local.result["state"] == "Done"
    assert local.result["rows"]["kept"] == 42


def wait_for_requests(teacher, count, process):
    deadline = time.monotonic() + 60
    while len(teacher.requests) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_rate_limits_are_waited_for(local, teacher):
    teacher.faults = lambda call: rate_limited(1) if call.number in (3, 4) else None
    ended = local.run("--until", "generate")
    assert ended.exit_code == 0
    assert local.result["rows"]["kept"] == 42


def test_key_comes_from_the_file_of_the_secret_and_stays_out_of_the_workspace(local):
    with gold_teacher(GOLD, api_key="sk-very-secret") as teacher:
        local.endpoint, local.teacher = teacher.url, {"apiKey": {"secretName": "teacher-key"}}
        (local.root / "key.env").write_text("api-key=sk-very-secret\n")
        ended = local.run("--until", "generate", "--secret", f"teacher-key={local.root / 'key.env'}")
    assert ended.exit_code == 0, ended.text
    assert not [path for path in local.out.rglob("*") if path.is_file() and b"sk-very-secret" in path.read_bytes()]


def test_claim_and_configmap_are_mapped_to_folders(local):
    manifest = local.manifest.read_text()
    elsewhere = local.root / "elsewhere"
    (elsewhere / "nli").mkdir(parents=True)
    for split, target in (("train", "nli/train.jsonl"), ("validation", "validation.jsonl")):
        (local.root / f"{split}.jsonl").rename(elsewhere / target)
    mapped = manifest.replace("uri: train.jsonl", "uri: pvc://rows/nli/train.jsonl")
    mapped = mapped.replace("uri: validation.jsonl", "uri: configmap://rows/validation.jsonl")
    path = local.root / "mapped.yaml"
    path.write_text(mapped)
    arguments = ["--claim", f"rows={elsewhere}", "--configmap", f"rows={elsewhere}", "--until", "generate"]
    ended = local.run_file(path, *arguments)
    assert ended.exit_code == 0, ended.text
    assert local.result["rows"]["kept"] == 42
