"""What is read in a server's completion, streamed or not, with or without an error in it."""

import contextlib
import json
import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.formatting import cleaned
from distillery_trainer.chat.completions import read_completion
from distillery_trainer.chat.error_responses import CallError, FailureScope
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.response_headers import ResponseHeaders


def completion(message: dict[str, object], **more: object) -> bytes:
    return json.dumps({"id": "c-1", "choices": [{"message": message, "finish_reason": "stop"}], **more}).encode()


def test_completion_is_read():
    body = completion({"content": "neutral"}, usage={"prompt_tokens": 7, "completion_tokens": 2})
    reply = read_completion(body, 0.25)
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
    reply = read_completion(completion(message), 0.0)
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
    reply = read_completion(body, 0.0)
    assert (reply.cached_tokens, reply.reasoning_tokens) == (cached, reasoning)


def test_reasoning_that_only_the_total_counts_is_output():
    body = completion({"content": "a"}, usage={"prompt_tokens": 37, "completion_tokens": 530, "total_tokens": 800})
    reply = read_completion(body, 0.0)
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
    assert read_completion(completion({"content": "a"}, usage=usage), 0.0).tokens is None


def chunk(text: str | None = None, finish: str | None = None, **more: object) -> str:
    delta = {} if text is None else {"content": text}
    return "data: " + json.dumps(
        {"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    )


def test_stream_that_was_not_requested_is_joined():
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    lines = [chunk("neu"), ": a comment", chunk("tral"), chunk(None, "stop", usage=usage), "data: [DONE]"]
    reply = read_completion("\n\n".join(lines).encode(), 0.25)
    assert (reply.content, reply.finish_reason, reply.tokens, reply.request_id) == ("neutral", "stop", 9, "c-1")


def test_stream_that_was_cut_is_no_reply():
    with pytest.raises(CallError) as caught:
        read_completion("\n\n".join([chunk("neu"), chunk("tral")]).encode(), 0.0)
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
        read_completion(json.dumps({"error": error}).encode(), 0.0)
    assert (caught.value.reason, caught.value.message, caught.value.scope) == (reason, message, FailureScope.TRANSIENT)


def test_error_that_came_as_200_waits_as_long_as_its_headers_ask():
    body = json.dumps({"error": {"code": "rate_limit_exceeded", "message": "Slow down."}}).encode()
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0, ResponseHeaders(retry_after=7.0))
    assert (caught.value.retry_after, caught.value.is_rate_limited) == (7.0, True)


def test_error_object_instead_of_a_completion_is_what_its_code_says():
    body = json.dumps({"object": "error", "message": "No such model.", "type": "NotFoundError", "code": 404}).encode()
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0)
    assert (caught.value.message, caught.value.scope) == ("HTTP 404: No such model.", FailureScope.SERVER)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"finish_reason": "abort"}, 'HTTP 500: The reply was aborted (finish_reason "abort").'),
        ({"finish_reason": "error", "error": {"code": 502, "message": "Gone."}}, "HTTP 502: Gone."),
    ],
)
def test_reply_that_the_server_aborted_is_retried(choice, message):
    body = json.dumps({"choices": [{"message": {"content": "half of"}, **choice}]}).encode()
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0)
    assert (caught.value.message, caught.value.scope) == (message, FailureScope.TRANSIENT)
    assert not caught.value.costs_nothing


def test_error_in_a_stream_is_an_error():
    body = f'{chunk("neu")}\n\ndata: {{"error": {{"message": "Gone.", "code": 503}}}}\n\n'
    with pytest.raises(CallError) as caught:
        read_completion(body.encode(), 0.0)
    assert caught.value.message == "HTTP 503: Gone."


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"data: {text}".encode()))
def test_no_body_breaks_the_reader(body):
    with pytest.raises(CallError):
        read_completion(body, 0.0)


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


@settings(deadline=None)
@given(json_values)
def test_json_of_any_shape_is_a_reply_or_a_call_error(value):
    for body in (json.dumps(value), f"data: {json.dumps(value)}"):
        with contextlib.suppress(CallError):
            assert_is_well_formed(read_completion(body.encode(), 0.0))


def assert_is_well_formed(reply: Reply) -> None:
    """Nothing behind the reader can stumble over it: typed, bounded, and storable."""
    orjson.dumps(reply)
    assert isinstance(reply.content, str)
    for text in (reply.finish_reason, reply.request_id, reply.model):
        assert text is None or (text and text == cleaned(text, 200))
    for count in (reply.input_tokens, reply.output_tokens, reply.cached_tokens, reply.reasoning_tokens):
        assert count is None or (type(count) is int and 0 <= count <= 100_000_000)
    assert (reply.cached_tokens or 0) <= (reply.input_tokens or 0)
    assert (reply.reasoning_tokens or 0) <= (reply.output_tokens or 0)


odd_values = st.deferred(
    lambda: (
        json_values
        | st.sampled_from([math.nan, math.inf, 1e30, -1, "12", "\ud83d", "\x1b[31m", "STOP", "error", 10**18, True])
        | st.lists(odd_values, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "thinking", "message", "code", "error"]), odd_values)
    )
)
odd_completions = st.fixed_dictionaries(
    {"choices": st.just([{}])},
    optional=dict.fromkeys(("id", "model", "object", "usage", "error", "created"), odd_values),
)
odd_choices = st.dictionaries(st.sampled_from(["message", "finish_reason", "index", "error", "delta"]), odd_values)
odd_messages = st.dictionaries(
    st.sampled_from(["content", "reasoning_content", "reasoning", "refusal", "tool_calls"]), odd_values
)
odd_usages = st.dictionaries(
    st.sampled_from(
        ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "prompt_cache_hit_tokens"]
    ),
    odd_values | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), odd_values),
)


@settings(deadline=None)
@given(odd_completions, odd_choices, odd_messages, odd_usages)
def test_completion_with_odd_fields_is_a_reply_or_a_call_error(completion, choice, message, usage):
    odd = {"usage": usage} | completion | {"choices": [{"message": message} | choice]}
    for body in (json.dumps(odd), f"data: {json.dumps(odd)}"):
        with contextlib.suppress(CallError):
            assert_is_well_formed(read_completion(body.encode(), 0.0))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "model", "usage", "created"]), odd_values), st.text(max_size=20))
def test_reply_counts_whatever_stands_beside_its_content(fields, content):
    body = {"choices": [{"message": {"content": f"answer {content}"}, "finish_reason": "stop"}]} | fields
    reply = read_completion(json.dumps(body).encode(), 0.0)
    assert reply.content == f"answer {content}"
    assert_is_well_formed(reply)


@pytest.mark.parametrize(
    "digits", ["9" * 30, "9" * 5_000, "1" + "0" * 100_000, "1e400", "0." + "3" * 100_000, "-" + "9" * 5_000]
)
def test_number_of_any_length_is_no_count_and_harms_nothing(digits):
    body = completion({"content": "a"}, usage={"prompt_tokens": 1234567, "completion_tokens": 2})
    reply = read_completion(body.replace(b"1234567", digits.encode()), 0.0)
    assert (reply.content, reply.tokens) == ("a", None)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_value_nested_to_any_depth_leaves_a_reply_or_a_bad_response(depth):
    body = completion({"content": "a"}, more=0).replace(b'"more": 0', b'"more": ' + b"[" * depth + b"]" * depth)
    if depth == 300:
        assert read_completion(body, 0.0).content == "a"
    else:
        with pytest.raises(CallError, match="its body is not a chat completion"):
            read_completion(body, 0.0)


def test_halves_of_a_character_in_two_chunks_are_one_character():
    lines = [chunk("a \ud83d"), chunk("\ude00 b"), chunk(None, "stop")]
    assert read_completion("\n\n".join(lines).encode(), 0.0).content == "a 😀 b"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_completion_in_any_encoding_of_unicode_is_read(encoding):
    body = json.dumps({"choices": [{"message": {"content": "größer 😀"}}]}, ensure_ascii=False)
    assert read_completion(body.encode(encoding), 0.0).content == "größer 😀"


def test_bytes_that_are_no_unicode_are_replaced():
    body = b'{"choices": [{"message": {"content": "caf\xe9"}}]}'
    assert read_completion(body, 0.0).content == "caf\ufffd"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}']
)
def test_anything_else_is_a_bad_response(body):
    with pytest.raises(CallError) as caught:
        read_completion(body, 0.0)
    assert (caught.value.reason, caught.value.scope) == ("bad_response", FailureScope.TRANSIENT)
