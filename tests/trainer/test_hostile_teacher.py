"""One teacher with every odd behaviour at once, and the stage as a process of its own: it ends within its patience, in
bounded memory, with a sentence, and keeps what was paid for."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

from chat_faults import closed_connection, content_filtered, cut_off, dropped_connection, empty, html_page, trickling
from generate_run import GENERATE_AND_PRINT_PEAK, GenerateRun, gold_of, nli_rows
from nonstandard_replies import JSON, bomb, changed, completion, error_as_200, moved, sent, streamed, used_up
from teacher_server import gold_teacher

KEY = "sk-Ab/9+very&secret=="
USAGE = {"prompt_tokens": 20, "completion_tokens": 2}
YEARS = {"Retry-After": "100000000"}


def error(status: int, message: str, headers: dict[str, str] | None = None):
    body = '{"error": {"message": %s}}' % (message if message.startswith("[") else json.dumps(message))
    return sent(f"error {status}", body, JSON | (headers or {}), status)


KEPT = [
    changed("counts", "CHOICE", usage=USAGE | {"prompt_tokens": 1e30}),
    changed("counts", "CHOICE", usage=USAGE | {"prompt_tokens": math.nan}),
    changed("model", "CHOICE", model=["x"]),
    changed("parts", content=[{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "CHOICE"}]),
    sent("byte order mark", "\ufeff" + json.dumps(completion("CHOICE"))),
    sent("201", completion("CHOICE"), JSON, 201),
    changed("STOP", "CHOICE", finish_reason="STOP"),
    changed("tags", "[THINK]Hm.[/THINK]CHOICE"),
    changed("half", "<think>\ud83d</think>CHOICE"),
    changed("headers", "CHOICE", {"x-ratelimit-remaining-requests": "9" * 5_000, "x-ratelimit-reset-requests": "8s"}),
    changed("reset", "CHOICE", {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1" * 8_000}),
    used_up("200ms"),
    streamed("CH", "OICE"),
]
REJECTED = {
    "bad_response": [
        sent("gzip", bomb(500), JSON | {"Content-Encoding": "gzip"}),
        sent("long", " " * 5_000_000),
        html_page(200),
        streamed("neu", ends=False),
    ],
    "timeout": [trickling()],
    "connection_closed": [closed_connection(), dropped_connection()],
    "http_400": [error(400, "[" * 1_000 + "]" * 1_000), error(400, "a" * 5_000_000), error(400, f"\x1b[31m{KEY}")],
    "http_500": [error(500, "Oops."), error_as_200("Out of memory.", "oom"), changed("aborted", finish_reason="error")],
    "http_502": [html_page(502)],
    "truncated": [cut_off(), changed("MAX_TOKENS", finish_reason="MAX_TOKENS")],
    "content_filter": [content_filtered(), changed("SAFETY", finish_reason="SAFETY")],
    "empty": [empty(), changed("nothing", content=[])],
}
FAULTS = [*KEPT, *(fault for faults in REJECTED.values() for fault in faults)]
COUNT = len(FAULTS)
TRAIN, VALIDATION, TEST = nli_rows(COUNT), nli_rows(6, 100), nli_rows(3, 200)
ENDS = {
    "503 for years": (error(503, "Busy.", YEARS), 3, "TeacherUnreachable", "asks to wait 100,000,000 seconds"),
    "429 for ever": (error(429, "Busy.", {"Retry-After": "inf"}), 3, "TeacherUnreachable", "asks to wait without end"),
    "401 with the key": (error(401, f"{KEY}\x1b]0;x\x07"), 2, "TeacherRejected", "The API key was rejected."),
    "redirect": (moved(f"https://u:p@new.example/v1?k={KEY}"), 2, "TeacherRejected", "redirects to https://new.example/v1?…"),
}  # fmt: skip


def with_its_answer(fault, gold: str):
    """The fault whose reply, if it is one, is the right answer of its row."""
    body = fault.refused.body if fault.refused else None
    if not isinstance(body, str):
        return fault
    answer = body.replace("CHOICE", gold).replace('"CH"', f'"{gold[:2]}"').replace('"OICE"', f'"{gold[2:]}"')
    return type(fault)(fault.name, refused=type(fault.refused)(fault.refused.status, answer, fault.refused.headers))


def faults_by_row(call):
    number = int(call.text.partition("Premise: Person ")[2].split()[0])
    return with_its_answer(FAULTS[number], TRAIN[number]["gold"]) if number < COUNT else None


def finished(run: GenerateRun) -> tuple[int, str, float, int]:
    """The exit code, the log, the seconds and the peak memory (KiB) of the stage as a process."""
    started = time.monotonic()
    command = [sys.executable, "-c", GENERATE_AND_PRINT_PEAK, str(run.config_file)]
    process = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    return process.returncode, process.stderr, time.monotonic() - started, int(process.stdout)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_API_KEY_0", KEY)
    return GenerateRun(
        tmp_path,
        "",
        TRAIN,
        VALIDATION,
        TEST,
        generation={"minSuccessRatio": 0, "concurrency": 8},
        teacher={"apiKey": {"secretName": "teacher-keys"}},
        config={
            "apiKeyVariables": {"teacher-keys/api-key": "DISTILLERY_API_KEY_0"},
            "maxAttempts": 2,
            "requestTimeoutSeconds": 3,
        },
    )


@pytest.mark.parametrize("end", [None, *ENDS])
def test_hostile_teacher_costs_little_memory_and_time_and_loses_no_reply(run, tmp_path, end):
    fault, expected, reason, words = ENDS[end] if end else (None, 0, "Succeeded", "Kept ")

    ended = []

    def faults(call):
        ended.extend([call] if "Person 100 " in call.text else [])
        return fault if fault and ended else faults_by_row(call)

    with gold_teacher(gold_of(TRAIN, VALIDATION, TEST), api_key=KEY, faults=faults) as teacher:
        run.endpoint = teacher.url
        exit_code, log, seconds, peak = finished(run)
    result = run.result
    assert (exit_code, result.exit_code, result.reason) == (expected, expected, reason), log
    assert words in result.message
    assert "ExceptionGroup" not in log + result.message
    assert "Traceback" not in log
    assert seconds < 60
    assert peak < 1024 * 1024
    if not end:
        assert (result.rows.kept, result.rows.rejected_by_reason) == (
            len(KEPT) + 9, {name: len(faults) for name, faults in REJECTED.items()}
        )  # fmt: skip
    (tmp_path / "run.json").unlink()
    texts = [log, *(path.read_text() for path in tmp_path.rglob("*") if path.is_file())]
    assert not [text for text in texts if KEY in text or "\x1b" in text or "\x07" in text]
