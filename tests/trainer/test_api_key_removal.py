"""The API key is in nothing that a server sends back, however it is written there."""

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_faults import script, where
from distillery_trainer.chat.api_key import KeyRemoval
from distillery_trainer.chat.completions import read_completion
from distillery_trainer.chat.error_responses import ErrorResponse
from generate_run import GenerateRun, gold_of, nli_rows
from nonstandard_replies import JSON, changed, sent
from teacher_server import gold_teacher

KEY = "sk-Ab/9+very&secret=="
ROW = "Person 5 "
GOLD = gold_of(nli_rows(12), nli_rows(6, 100), nli_rows(3, 200))
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in KEY)
FORMS = {
    "plain": KEY,
    "slashes escaped": KEY.replace("/", "\\/"),
    "percent-encoded": quote(KEY, safe=""),
    "HTML": html.escape(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of a header": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 of a user and password": base64.urlsafe_b64encode(f"me:{KEY}\n".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_key_is_removed_in_every_form(form):
    left = KeyRemoval(KEY)(f"The key {form}.")
    assert "***" in left
    assert KEY[5:15] not in left
    assert base64.b64encode(KEY.encode()).decode()[4:16] not in left


@pytest.mark.parametrize("placeholder", ["EMPTY", "ollama", "none", "x", "placeholder", "", None])
def test_placeholder_is_no_secret(placeholder):
    assert KeyRemoval(placeholder)("EMPTY ollama none x placeholder") == "EMPTY ollama none x placeholder"


@pytest.mark.parametrize("key", ["123456", "000000", "not-needed", "no-key-is-required", "1234567890123456789"])
def test_placeholder_does_not_damage_replies(key):
    text = "The total is 1234567, not-needed or 0000001; no-key-is-required, 1234567890123456789."
    body = json.dumps({"choices": [{"message": {"content": text, "reasoning_content": text}, "finish_reason": "stop"}]})
    reply = read_completion(body.encode(), 0.0, without_key=KeyRemoval(key))
    assert (reply.content, reply.reasoning) == (text, text)


def test_placeholder_is_removed_from_errors_all_the_same():
    assert ErrorResponse.of_error(401, "Wrong key 123456.", without_key=KeyRemoval("123456")).text == "Wrong key ***."


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8), st.text(), st.text())
def test_no_text_keeps_the_key(key, before, after):
    remove = KeyRemoval(f"{key}1")
    assert f"{key}1" not in remove(f"{before}{key}1{after}").replace("***", "")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_API_KEY_0", KEY)
    return GenerateRun(
        tmp_path,
        "",
        teacher={"apiKey": {"secretName": "teacher-keys"}},
        config={"apiKeyVariables": {"teacher-keys/api-key": "DISTILLERY_API_KEY_0"}, "maxAttempts": 1},
    )


def error(message: str, status: int):
    body = '{"error": {"message": "WORDS", "code": "WORDS"}}'
    return sent("echo", body.replace("WORDS", message), JSON, status)


def chunks(*pieces: str) -> str:
    ends = [None] * (len(pieces) - 1) + ["stop"]
    choices = [{"delta": {"content": piece}, "finish_reason": end} for piece, end in zip(pieces, ends, strict=True)]
    return "".join(f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices)


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [
        (error(KEY, 400), 0),
        (error(f"a{'b' * 280} {KEY}", 400), 0),
        (error(KEY.replace("/", "\\/"), 401), 2),
        (error(ESCAPED, 401), 2),
        (error(FORMS["base64 of a header"], 403), 2),
        (sent("header", {"error": {"message": "No."}}, JSON | {"x-request-id": f"id {KEY}"}, 400), 0),
        (sent("text", f"Unauthorized: Bearer {KEY}", {"Content-Type": "text/plain"}, 401), 2),
        (sent("redirect", "", {"Location": f"/login/{KEY}?key={KEY}"}, 307), 2),
        (changed("id", id=f"chat-{KEY}", headers={"x-request-id": KEY}), 0),
        (changed("model", model=f"teacher {KEY}"), 0),
        (changed("content", content=f"contradiction\n{KEY}"), 0),
        (changed("reasoning", reasoning_content=KEY, refusal=KEY), 0),
        (changed("finish reason", finish_reason=KEY), 0),
        (sent("escaped", json.dumps({"choices": [{"message": {"content": KEY}}]}).replace("/", "\\/")), 0),
        (sent("error as 200", {"error": {"message": KEY, "code": KEY}}), 0),
        (sent("error as 200", {"object": "error", "message": KEY, "code": 401}), 2),
        (sent("stream", chunks(KEY[:9], KEY[9:])), 0),
    ],
    ids=range(17),
)
def test_key_that_a_server_repeats_is_in_no_file_no_log_and_no_status(run, fault, exit_code, capfd, tmp_path):
    with gold_teacher(GOLD, api_key=KEY, faults=where(ROW, fault)) as teacher:
        run.endpoint = teacher.url
        assert run.run().exit_code == exit_code
    (tmp_path / "run.json").unlink()
    log = "".join(capfd.readouterr())
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) >= 6
    for secret in (KEY, KEY[:12], quote(KEY, safe=""), base64.b64encode(f"Bearer {KEY}".encode()).decode()[12:30]):
        assert secret not in log
        assert not [path for path, content in written.items() if secret.encode() in content]


@pytest.mark.parametrize("key", ["ключ-к-модели", "sk-a\nb: c", "sk-\x01", "sk-🔑"])
def test_key_that_cannot_be_sent_is_reported_before_any_request(run, monkeypatch, key):
    monkeypatch.setenv("DISTILLERY_API_KEY_0", key)
    with gold_teacher(GOLD, faults=script([])) as teacher:
        run.endpoint = teacher.url
        result = run.run()
        assert (result.exit_code, result.reason, len(teacher.requests)) == (2, "TeacherRejected", 0)
    assert "its API key holds characters that no HTTP header can. Check the key api-key of the Secret" in result.message
