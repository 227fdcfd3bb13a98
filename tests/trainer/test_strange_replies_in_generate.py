"""The stage with a teacher whose replies stray from the protocol: which of them count, and what is said of the others.

Each reply is sent for one row among twenty-one, and for the first request of all.
"""

import json
import math

import pytest

from chat_faults import Fault, server_error, verbatim, where
from generate_run import GenerateRun, gold_of, nli_rows
from nonstandard_replies import JSON, changed, completion, sent
from teacher_server import gold_teacher

GOLD = gold_of(nli_rows(12), nli_rows(6, 100), nli_rows(3, 200))
FIRST_ROW, LATER_ROW = "Person 0 ", "Person 5 "
"""Whose answers are entailment and contradiction."""
ANSWERS = {FIRST_ROW: "entailment", LATER_ROW: "contradiction"}


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture
def teacher():
    with gold_teacher(GOLD) as server:
        yield server


@pytest.fixture
def run(tmp_path, teacher):
    return GenerateRun(tmp_path, teacher.url, config={"maxAttempts": 2})


def usage(**counts) -> dict:
    return {"prompt_tokens": 20, "completion_tokens": 2, **counts}


WHOLE = [
    ("prompt tokens 1e30", {"usage": usage(prompt_tokens=1e30)}),
    ("prompt tokens as text", {"usage": usage(prompt_tokens="12")}),
    ("prompt tokens NaN", {"usage": usage(prompt_tokens=math.nan)}),
    ("prompt tokens infinite", {"usage": usage(prompt_tokens=math.inf)}),
    ("prompt tokens negative", {"usage": usage(prompt_tokens=-5)}),
    ("prompt tokens a list", {"usage": usage(prompt_tokens=[12])}),
    ("no prompt tokens", {"usage": usage(prompt_tokens=0)}),
    ("prompt tokens true", {"usage": usage(prompt_tokens=True)}),
    ("half a token", {"usage": usage(completion_tokens=1.5)}),
    ("usage is a list", {"usage": [1, 2]}),
    ("usage is a text", {"usage": "12"}),
]


@pytest.mark.parametrize("row", [FIRST_ROW, LATER_ROW])
@pytest.mark.parametrize("fields", [fields for _, fields in WHOLE], ids=[name for name, _ in WHOLE])
def test_reply_whose_tokens_are_not_counted_is_kept_and_estimated(run, teacher, row, fields):
    teacher.faults = where(row, changed("count", ANSWERS[row], **fields))
    result = run.run()
    assert (result.exit_code, result.rows.kept, len(teacher.requests)) == (0, 21, 21)
    assert result.usage.uncounted_replies == 1
    assert 200 < result.usage.input_tokens < 2_000


def parts(*parts: object) -> dict:
    return {"content": list(parts)}


THINKING = {"type": "thinking", "thinking": "Hm."}
TEXT = {"type": "text", "text": "contradiction"}


@pytest.mark.parametrize(
    ("fault", "reasoning"),
    [
        (changed("model", model=["x"]), None),
        (changed("id", id=nested(300)), None),
        (changed("id", id={"a": 1}), None),
        (changed("parts", **parts(THINKING, TEXT)), "Hm."),
        (changed("parts", **parts({"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, TEXT)), "Hm."),
        (changed("parts", **parts({"type": "reasoning", "text": "Hm."}, TEXT)), "Hm."),
        (changed("parts", **parts("contra", {"type": "output_text", "text": "diction"}, {"type": "image"}, 3)), None),
        (changed("reasoning", reasoning_content={"text": "Hm."}), "Hm."),
        (changed("reasoning", reasoning_content=[1, None]), None),
        (changed("refusal", refusal=["no"]), None),
        (changed("NaN", created=math.nan, system_fingerprint=math.inf), None),
        (changed("null", service_tier=None, usage={"prompt_tokens": 20, "completion_tokens": 2, "more": []}), None),
        (sent("byte order mark", "\ufeff" + json.dumps(completion("contradiction"))), None),
        (sent("white space", "\n\n " + json.dumps(completion("contradiction"))), None),
        (sent("a line end in a text", json.dumps(completion("contradiction")).replace("diction", "diction\n")), None),
        (sent("201", completion("contradiction"), JSON, 201), None),
        (sent("203", completion("contradiction"), JSON, 203), None),
        (sent("text/plain", completion("contradiction"), {"Content-Type": "text/plain"}), None),
        (sent("number", json.dumps(completion("contradiction"))[:-1] + ', "x": ' + "9" * 5_000 + "}"), None),
        *(
            (changed(f"finish_reason {name!r}", finish_reason=name), None)
            for name in [
                "STOP",
                "EOS",
                "COMPLETE",
                "end_turn",
                "stop_sequence",
                "eos_token",
                "FINISH_REASON_STOP",
                "EndTurn",
                "",
                "null",
                None,
                {"type": "stop", "matched": 2},
            ]
        ),
        (changed("[THINK]", "[THINK]Hm.[/THINK]contradiction"), "Hm."),
        (changed("◁think▷", "◁think▷Hm.◁/think▷contradiction"), "Hm."),
        (changed("<thinking>", "<thinking>Hm.</thinking>contradiction"), "Hm."),
        (changed("zero width", "\u200b<think>Hm.</think>contradiction"), "Hm."),
        (changed("channels", "analysisHm.assistantfinalcontradiction"), "Hm."),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_reply_in_an_odd_form_counts(run, teacher, fault, reasoning):
    teacher.faults = where(LATER_ROW, fault)
    result = run.run()
    assert (result.exit_code, result.rows.kept, len(teacher.requests)) == (0, 21, 21)
    assert run.rows("train")[5]["completion"] == [{"role": "assistant", "content": "contradiction"}]
    kept_apart = [line["reply"]["reasoning"] for line in run.journal()]
    assert [text for text in kept_apart if text] == ([reasoning] if reasoning else [])


def test_finish_reason_that_is_missing_is_that_of_a_whole_reply(run, teacher):
    body = completion("contradiction")
    del body["choices"][0]["finish_reason"]
    teacher.faults = where(LATER_ROW, sent("no finish_reason", body))
    assert run.run().rows.kept == 21


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [
        *((name, "truncated") for name in ["length", "MAX_TOKENS", "max_tokens", "model_length", "MaxTokens"]),
        *((name, "content_filter") for name in ["content_filter", "SAFETY", "RECITATION", "guardrail_intervened"]),
        ("tool_calls", "truncated"),
        ("unknown", "truncated"),
        (["stop"], "truncated"),
        (1, "truncated"),
    ],
)
def test_reply_that_did_not_end_by_itself_is_not_kept(run, teacher, finish_reason, reason):
    teacher.faults = where(LATER_ROW, changed("ended", finish_reason=finish_reason))
    result = run.run()
    assert (result.exit_code, result.rows.rejected_by_reason) == (0, {reason: 1})


# --- halves of characters


HALF = '{"reason": "half an emoji \\ud83d", "answer_choice": "%s"}'


@pytest.mark.parametrize("row", [FIRST_ROW, LATER_ROW])
@pytest.mark.parametrize("escaped_twice", [False, True])
def test_half_an_emoji_is_replaced_and_the_row_sent_once(run, teacher, row, escaped_twice):
    content = HALF % ANSWERS[row]
    body = (
        json.dumps(completion(content))
        if escaped_twice
        else json.dumps(completion(content)).replace("\\\\ud83d", "\\ud83d")
    )
    run.generation = {"chainOfThought": True, "keepReasoning": True}
    teacher.faults = where(row, sent("half an emoji", body))
    assert run.run().rows.kept == 21
    kept = next(kept for kept in run.rows("train") if row in kept["prompt"][-1]["content"])
    assert "half an emoji \ufffd" in kept["completion"][0]["content"]
    assert len(teacher.requests) == 21


def test_halves_in_every_text_of_a_reply_are_replaced(run, teacher):
    half = "\\ud83d"
    body = json.dumps(completion("contradiction", id=half, model=half)).replace("\\\\ud83d", half)
    body = body.replace('"content"', f'"reasoning_content": "{half}", "refusal": "{half}", "content"')
    teacher.faults = where(LATER_ROW, sent("halves", body))
    assert run.run().exit_code == 0
    reply = next(line["reply"] for line in run.journal() if line["reply"]["reasoning"])
    assert (reply["reasoning"], reply["refusal"], reply["request_id"], reply["model"]) == ("\ufffd",) * 4


# --- errors


def error(message: object, status: int = 400, headers: dict | None = None) -> Fault:
    return sent(f"error {status}", {"error": {"message": message}}, JSON | (headers or {}), status)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (sent("nested", '{"error": {"message": ' + "[" * 1_000 + "]" * 1_000 + "}}", JSON, 400), "HTTP 400: …"),
        (error("a" * 5_000_000), "HTTP 400: " + "a" * 297 + "…"),
        (error({"text": ["odd", 1]}), 'HTTP 400: {"text":["odd",1]}'),
        (
            sent("text", "upstream connect error", {"Content-Type": "text/plain"}, 400),
            "HTTP 400: upstream connect error",
        ),
        (error("\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b2J\u202edesrever"), "HTTP 400: red desrever"),
        (error("half \ud83d"), "HTTP 400: half \ufffd"),
        (error(None), "HTTP 400"),
    ],
    ids=range(7),
)
def test_servers_message_is_shown_on_a_short_line_without_hidden_characters(run, teacher, fault, message, capfd):
    teacher.faults = where(LATER_ROW, fault)
    result = run.run()
    assert (result.exit_code, result.rows.kept) == (0, 20)
    assert [row["message"] for row in run.rows("rejected")] == [message]
    assert "\x1b" not in capfd.readouterr().err


def test_error_that_ends_the_stage_is_shown_without_hidden_characters(run, teacher, capfd):
    teacher.faults = lambda call: error("\x1b[31mwrong\x1b[0m key\u202e", 401)
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TeacherRejected")
    assert result.message.endswith("It answered: HTTP 401: wrong key")
    assert not any(character in capfd.readouterr().err + run.termination_message for character in "\x1b\u202e")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed_and_its_target_shown_without_secrets(run, teacher, status):
    target = "https://user:s3cret@new.example/v2/chat/completions?token=s3cret"
    teacher.faults = lambda call: sent("moved", "", {"Location": target}, status)
    result = run.run()
    assert (result.exit_code, len(teacher.requests)) == (2, 1)
    assert "It redirects to https://new.example/v2/chat/completions?…: use that as endpoint" in result.message
    assert "s3cret" not in result.message


def test_redirect_on_the_same_server_is_shown_as_an_endpoint(run, teacher):
    teacher.faults = lambda call: sent("moved", "", {"Location": "/v2/chat/completions"}, 308)
    address = teacher.url.removesuffix("/v1")
    assert f"It redirects to {address}/v2: use that as endpoint" in run.run().message


@pytest.mark.parametrize("location", ["http://[::1", "a" * 9_000, "//", "http://host:port/"])
def test_redirect_to_nowhere_is_a_redirect(run, teacher, location):
    teacher.faults = lambda call: sent("moved", "", {"Location": location}, 308)
    result = run.run()
    assert result.exit_code == 2
    assert "It redirects to " in result.message
    assert len(result.message) < 1_000


# --- headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining-requests": "0" * 5_000, "x-ratelimit-reset-requests": "60s"},
        {"x-ratelimit-remaining-requests": "9" * 5_000, "x-ratelimit-reset-requests": "60s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1" * 8_000 + "s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s" * 8_000},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "nan"},
        {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "0000-00-00T00:00:00Z"},
        {"x-ratelimit-remaining-requests": "²", "x-ratelimit-reset-requests": "60s"},
        {"Retry-After": "Thu, 01 Jan 2026 12:00:00 +99999999999999999999"},
        {"Date": "Thu, 01 Jan 2026 12:00:00 +99999999999999999999"},
        {"x-request-id": "a" * 16_000},
    ],
    ids=range(10),
)
def test_header_that_cannot_be_read_is_ignored(run, teacher, headers):
    teacher.faults = lambda call: changed("headers", ANSWERS.get(call.text, "neutral"), headers)
    result = run.run()
    assert (result.exit_code, result.rows.kept, len(teacher.requests)) == (0, 21, 21)


def test_retry_after_that_cannot_be_read_is_not_waited_for(run, teacher):
    headers = {"Retry-After": "Thu, 01 Jan 2026 12:00:00 +99999999999999999999"}
    teacher.faults = where(LATER_ROW, error("Busy.", 503, headers), times=1)
    assert run.run().rows.kept == 21


# --- what a later run asks again


def test_rows_whose_request_failed_are_sent_again_by_the_next_run_and_no_others(run, teacher):
    failing = ("Person 3 ", "Person 5 ", "Person 102 ")
    teacher.faults = lambda call: server_error(500) if any(name in call.text for name in failing) else None
    run.config = {"maxAttempts": 1}
    first = run.run()
    assert (first.exit_code, first.rows.kept) == (0, 18)
    before = len(teacher.requests)
    teacher.faults = lambda call: None
    run.folder = "generate-9876543210"
    assert run.run().rows.kept == 21
    assert sorted(request.user_text[9:19] for request in teacher.requests[before:]) == [
        "Person 102",
        "Person 3 r",
        "Person 5 r",
    ]


def test_reply_that_is_not_read_as_json_is_a_reply_all_the_same(run, teacher):
    teacher.faults = where(LATER_ROW, verbatim("contradiction"))
    assert run.run().rows.kept == 21
