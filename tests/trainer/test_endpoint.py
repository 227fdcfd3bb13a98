"""What a server's answer means, without a server."""

import contextlib
import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.spec import Generation
from distillery_trainer.chat.completions import read_completion
from distillery_trainer.chat.error_responses import (
    Allowance,
    CallError,
    ErrorResponse,
    FailureScope,
    allowances,
    call_error,
    retry_after,
    seconds_until,
)
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.chat.request_parameters import (
    FormatWatch,
    is_too_much,
    refused_parameter,
    sampling_parameters,
    without_parameter,
)
from distillery_trainer.chat.retries import pause_before

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def refusal(status: int, message: str = "", code: str = "", **more: object) -> ErrorResponse:
    return ErrorResponse(status, json.dumps({"error": {"message": message, "code": code, **more}}).encode())


@pytest.mark.parametrize(
    ("answer", "reason", "verdict"),
    [
        (refusal(429, "Slow down."), "http_429", FailureScope.AGAIN),
        (refusal(429, "No money.", "insufficient_quota"), "http_429", FailureScope.TEACHER),
        (refusal(429, "No money.", type="insufficient_quota"), "http_429", FailureScope.TEACHER),
        (refusal(500), "http_500", FailureScope.AGAIN),
        (refusal(529, "Overloaded"), "http_529", FailureScope.AGAIN),
        (refusal(408), "http_408", FailureScope.AGAIN),
        (refusal(401), "http_401", FailureScope.TEACHER),
        (refusal(403, "Country not supported"), "http_403", FailureScope.TEACHER),
        (refusal(403, "Your input was flagged by moderation"), "content_filter", FailureScope.ROW),
        (refusal(400, "x", "content_filter"), "content_filter", FailureScope.ROW),
        (refusal(400, "triggering Azure OpenAI's content management policy"), "content_filter", FailureScope.ROW),
        (refusal(400, "x", "context_length_exceeded"), "context_too_long", FailureScope.ROW),
        (refusal(400, "This model's maximum context length is 8 tokens"), "context_too_long", FailureScope.ROW),
        (refusal(413, "prompt is too long: 9 tokens > 8"), "context_too_long", FailureScope.ROW),
        (refusal(400, "Bad request"), "http_400", FailureScope.ROW),
        (refusal(404, "no such model"), "http_404", FailureScope.TEACHER),
        (refusal(405), "http_405", FailureScope.TEACHER),
        (ErrorResponse(308, b""), "http_308", FailureScope.TEACHER),
        (ErrorResponse(502, b"<html>Bad gateway</html>"), "http_502", FailureScope.AGAIN),
    ],
)
def test_refusal_means_a_reason_and_a_verdict(answer, reason, verdict):
    error = call_error(answer, NOW)
    assert (error.reason, error.verdict) == (reason, verdict)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "Too  many\\nrequests"}}', "HTTP 500: Too many requests"),
        (b'{"error": "out of memory"}', "HTTP 500: out of memory"),
        (b'{"detail": "Not found"}', "HTTP 500: Not found"),
        (b'{"message": "no"}', "HTTP 500: no"),
        (b'"text"', "HTTP 500: text"),
        (b"<html></html>", "HTTP 500: a page in place of JSON"),
        (b"", "HTTP 500: a page in place of JSON"),
        (b'{"error": {"message": "' + b"a" * 400 + b'"}}', "HTTP 500: " + "a" * 297 + "…"),
    ],
)
def test_servers_own_words_are_found_and_cut(body, text):
    assert call_error(ErrorResponse(500, body), NOW).message == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("86400", 86400.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after({"retry-after": value}, NOW) == seconds


def test_no_retry_after():
    assert retry_after({}, NOW) is None


def test_date_is_read_by_the_clock_of_the_server():
    headers = {"retry-after": "Thu, 01 Jan 2026 15:00:20 GMT", "date": "Thu, 01 Jan 2026 15:00:00 GMT"}
    assert retry_after(headers, NOW) == 20.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1.5", 1.5),
        ("2026-01-01T12:00:30Z", 30.0),
        ("2026-01-01T11:00:00+00:00", 0.0),
        ("soon", None),
        ("6m later", None),
        ("", None),
    ],
)
def test_reset_of_a_rate_limit_is_read_in_every_form(value, seconds):
    assert seconds_until(value, NOW) == seconds


def test_allowances_are_read_under_either_name():
    ours = {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1s"}
    theirs = {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-01-01T12:00:30Z"}
    assert allowances(ours | theirs, NOW) == {"requests": Allowance(3, 1.0), "tokens": Allowance(0, 30.0)}
    assert allowances({"x-ratelimit-remaining-requests": "3"}, NOW) == {}


SENT = {"temperature": 0.2, "max_tokens": 5, "top_p": 0.1, "response_format": {}}


@pytest.mark.parametrize(
    ("answer", "parameter"),
    [
        (refusal(400, "x", param="temperature"), "temperature"),
        (refusal(400, "x", param="response_format.type"), "response_format"),
        (refusal(422, "Extra inputs: top_p"), "top_p"),
        (refusal(400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead."), "max_tokens"),
        (refusal(400, "guided decoding of json_schema is not available"), "response_format"),
        (refusal(400, "x", param="messages"), None),
        (refusal(400, "x", param="presence_penalty"), None),
        (refusal(500, "temperature"), None),
    ],
)
def test_parameter_that_a_refusal_names(answer, parameter):
    assert refused_parameter(answer, SENT) == parameter


@pytest.mark.parametrize(
    ("words", "too_much"),
    [
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", True),
        ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens", True),
        ("'max_tokens' must be less than or equal to 4096", True),
        ("'max_tokens' is not supported. Use 'max_completion_tokens' instead.", False),
        ("Unrecognized request argument supplied: max_tokens", False),
    ],
)
def test_limit_that_is_too_high_is_told_from_one_that_is_not_taken(words, too_much):
    assert is_too_much(refusal(400, words)) is too_much


def test_max_tokens_goes_by_its_newer_name_and_then_not_at_all():
    renamed = without_parameter({"max_tokens": 5, "top_p": 1}, "max_tokens")
    assert renamed == {"top_p": 1, "max_completion_tokens": 5}
    assert without_parameter(renamed, "max_completion_tokens") == {"top_p": 1}


def test_schema_becomes_plain_json_and_then_nothing():
    schema = {"response_format": {"type": "json_schema", "json_schema": {}}, "top_p": 1}
    plain = without_parameter(schema, "response_format")
    assert plain == {"response_format": {"type": "json_object"}, "top_p": 1}
    assert without_parameter(plain, "response_format") == {"top_p": 1}


def ignored_after(replies: list[str]) -> int | None:
    watch = FormatWatch()
    return next((number for number, text in enumerate(replies, start=1) if watch.ignores(text)), None)


def test_format_is_ignored_by_a_server_whose_first_replies_are_plain():
    assert ignored_after(["It is neutral."] * 5) == 3


def test_format_that_was_honoured_once_is_believed():
    assert ignored_after(["It is neutral.", '```json\n{"answer": 1}', *["It is neutral."] * 9]) is None


def test_default_sampling_is_sent_without_neutral_values():
    generation = Generation(teachers=({"name": "t", "endpoint": "http://t/v1", "model": "m"},))
    assert sampling_parameters(generation, 128, None) == {"temperature": 0.2, "top_p": 0.1, "max_tokens": 128}


# --- completions


def completion(message: dict[str, object], **more: object) -> bytes:
    return json.dumps({"id": "c-1", "choices": [{"message": message, "finish_reason": "stop"}], **more}).encode()


def test_completion_is_read():
    body = completion({"content": "neutral"}, usage={"prompt_tokens": 7, "completion_tokens": 2})
    reply = read_completion(body, 0.25, None)
    assert (reply.content, reply.input_tokens, reply.output_tokens, reply.tokens) == ("neutral", 7, 2, 9)
    assert (reply.latency_seconds, reply.request_id) == (0.25, "c-1")


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "a", "reasoning_content": "b"}, "a", "b"),
        ({"content": "a", "reasoning": "b"}, "a", "b"),
        ({"content": "<think>b</think>\n\na"}, "a", "b"),
        ({"content": "b</think>a"}, "a", "b"),
        ({"content": None}, "", None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None),
    ],
)
def test_reasoning_is_kept_apart(message, content, reasoning):
    reply = read_completion(completion(message), 0.0, None)
    assert (reply.content, reply.reasoning) == (content, reasoning)


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}}, 5, 3),
        ({"prompt_cache_hit_tokens": 4}, 4, None),
        ({"prompt_tokens_details": None}, None, None),
    ],
)
def test_cached_and_reasoning_tokens_are_read(usage, cached, reasoning):
    body = completion({"content": "a"}, usage={"prompt_tokens": 9, "completion_tokens": 4, **usage})
    reply = read_completion(body, 0.0, None)
    assert (reply.cached_tokens, reply.reasoning_tokens) == (cached, reasoning)


def test_thoughts_that_only_the_total_counts_are_written_tokens():
    body = completion({"content": "a"}, usage={"prompt_tokens": 37, "completion_tokens": 530, "total_tokens": 800})
    reply = read_completion(body, 0.0, None)
    assert (reply.input_tokens, reply.output_tokens, reply.tokens) == (37, 763, 800)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": "many"},
        {"prompt_tokens": -1},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    ],
)
def test_server_that_does_not_count_leaves_the_tokens_open(usage):
    assert read_completion(completion({"content": "a"}, usage=usage), 0.0, None).tokens is None


# --- what comes in place of a completion


def chunk(text: str | None = None, finish: str | None = None, **more: object) -> str:
    delta = {} if text is None else {"content": text}
    return "data: " + json.dumps(
        {"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    )


def test_stream_that_nobody_asked_for_is_joined():
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    lines = [chunk("neu"), ": a comment", chunk("tral"), chunk(None, "stop", usage=usage), "data: [DONE]"]
    reply = read_completion("\n\n".join(lines).encode(), 0.25, None)
    assert (reply.content, reply.finish_reason, reply.tokens, reply.request_id) == ("neutral", "stop", 9, "c-1")


def test_stream_that_was_cut_is_no_reply():
    with pytest.raises(CallError) as caught:
        read_completion("\n\n".join([chunk("neu"), chunk("tral")]).encode(), 0.0, None)
    assert caught.value.reason == "bad_response"


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        ({"code": 429, "message": "Slow down."}, "http_429", "HTTP 429: Slow down."),
        ({"code": "429", "message": "Slow down."}, "http_429", "HTTP 429: Slow down."),
        ({"type": "rate_limit_exceeded", "message": "Slow down."}, "http_429", "HTTP 429: Slow down."),
        ({"code": "overloaded", "message": "Too much."}, "http_500", "HTTP 500: Too much."),
        ("out of memory", "http_500", "HTTP 500: out of memory"),
    ],
)
def test_error_that_came_as_200_is_an_error(error, reason, message):
    with pytest.raises(CallError) as caught:
        read_completion(json.dumps({"error": error}).encode(), 0.0, None)
    assert (caught.value.reason, caught.value.message, caught.value.verdict) == (reason, message, FailureScope.AGAIN)


def test_error_that_came_as_200_waits_as_long_as_its_headers_ask():
    body = json.dumps({"error": {"code": "rate_limit_exceeded", "message": "Slow down."}}).encode()
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0, None, headers={"retry-after": "7"})
    assert (caught.value.retry_after, caught.value.says_slow_down) == (7.0, True)


def test_error_object_in_place_of_a_completion_is_what_its_code_says():
    body = json.dumps({"object": "error", "message": "No such model.", "type": "NotFoundError", "code": 404}).encode()
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0, None)
    assert (caught.value.message, caught.value.verdict) == ("HTTP 404: No such model.", FailureScope.TEACHER)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"finish_reason": "abort"}, 'HTTP 500: The reply was broken off (finish_reason "abort").'),
        ({"finish_reason": "error", "error": {"code": 502, "message": "Gone."}}, "HTTP 502: Gone."),
    ],
)
def test_reply_that_the_server_broke_off_is_asked_for_again(choice, message):
    body = json.dumps({"choices": [{"message": {"content": "half of"}, **choice}]}).encode()
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0, None)
    assert (caught.value.message, caught.value.verdict) == (message, FailureScope.AGAIN)
    assert not caught.value.costs_nothing


def test_error_in_a_stream_is_an_error():
    body = f'{chunk("neu")}\n\ndata: {{"error": {{"message": "Gone.", "code": 503}}}}\n\n'
    with pytest.raises(CallError) as caught:
        read_completion(body.encode(), 0.0, None)
    assert caught.value.message == "HTTP 503: Gone."


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"data: {text}".encode()))
def test_no_body_breaks_the_reader(body):
    with pytest.raises(CallError):
        read_completion(body, 0.0, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "error", "delta", "prompt_tokens", "index"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_json_of_any_shape_is_a_reply_or_a_call_error(value):
    for body in (json.dumps(value), f"data: {json.dumps(value)}"):
        with contextlib.suppress(CallError):
            assert isinstance(read_completion(body.encode(), 0.0, None).content, str)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}']
)
def test_anything_else_is_a_bad_response(body):
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0, None)
    assert (caught.value.reason, caught.value.verdict) == ("bad_response", FailureScope.AGAIN)


# --- repeating


@pytest.mark.parametrize(("attempt", "most"), [(2, 0.5), (3, 1.0), (4, 2.0), (9, 60.0), (40, 60.0)])
def test_pause_doubles_up_to_a_minute_and_half_of_it_is_random(attempt, most):
    rng = random.Random(1)
    pauses = [pause_before(attempt, None, rng) for _ in range(200)]
    assert most * 0.5 <= min(pauses) < most * 0.6
    assert most * 0.9 < max(pauses) <= most


@pytest.mark.parametrize("asked", [0.0, 1.0, 3600.0])
def test_pause_is_never_shorter_than_the_server_asks(asked):
    rng = random.Random(1)
    assert all(asked <= pause_before(2, asked, rng) <= asked + 1.0 for _ in range(200))


def test_key_of_a_reply_depends_on_all_that_determines_it():
    messages = [{"role": "user", "content": "a"}]
    keys = {
        ReplyKeys("m", {"temperature": 0.2}).key(messages),
        ReplyKeys("n", {"temperature": 0.2}).key(messages),
        ReplyKeys("m", {"temperature": 0.3}).key(messages),
        ReplyKeys("m", {"temperature": 0.2}, sample=1).key(messages),
        ReplyKeys("m", {"temperature": 0.2}).key([{"role": "user", "content": "b"}]),
    }
    assert len(keys) == 5
    assert ReplyKeys("m", {"a": 1, "b": 2}).key(messages) == ReplyKeys("m", {"b": 2, "a": 1}).key(messages)
