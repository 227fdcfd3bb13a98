"""What an error response means: which scope it has, and for how long."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.formatting import cleaned
from distillery_trainer.chat.error_responses import ErrorResponse, FailureScope, call_error
from distillery_trainer.chat.response_headers import Allowance, ResponseHeaders
from distillery_trainer.chat.waiting_times import seconds_until
from linear_time import linear_time

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def read(headers: dict[str, str]) -> ResponseHeaders:
    return ResponseHeaders.read(headers, "http://teacher.example/v1", NOW)


def error_response(status: int, message: str = "", code: str = "", **more: object) -> ErrorResponse:
    return ErrorResponse.read(status, json.dumps({"error": {"message": message, "code": code, **more}}).encode())


@pytest.mark.parametrize(
    ("response", "reason", "scope"),
    [
        (error_response(429, "Slow down."), "http_429", FailureScope.TRANSIENT),
        (error_response(429, "No credit.", "insufficient_quota"), "http_429", FailureScope.SERVER),
        (error_response(429, "No credit.", type="insufficient_quota"), "http_429", FailureScope.SERVER),
        (error_response(500), "http_500", FailureScope.TRANSIENT),
        (error_response(529, "Overloaded"), "http_529", FailureScope.TRANSIENT),
        (error_response(408), "http_408", FailureScope.TRANSIENT),
        (error_response(401), "http_401", FailureScope.SERVER),
        (error_response(403, "Country not supported"), "http_403", FailureScope.SERVER),
        (error_response(403, "Your input was flagged by moderation"), "content_filter", FailureScope.ROW),
        (error_response(400, "x", "content_filter"), "content_filter", FailureScope.ROW),
        (
            error_response(400, "triggering Azure OpenAI's content management policy"),
            "content_filter",
            FailureScope.ROW,
        ),
        (error_response(400, "x", "context_length_exceeded"), "context_too_long", FailureScope.ROW),
        (error_response(400, "This model's maximum context length is 8 tokens"), "context_too_long", FailureScope.ROW),
        (error_response(413, "prompt is too long: 9 tokens > 8"), "context_too_long", FailureScope.ROW),
        (error_response(400, "Bad request"), "http_400", FailureScope.ROW),
        (error_response(404, "no such model"), "http_404", FailureScope.SERVER),
        (error_response(405), "http_405", FailureScope.SERVER),
        (ErrorResponse.read(308, b""), "http_308", FailureScope.SERVER),
        (ErrorResponse.read(502, b"<html>Bad gateway</html>"), "http_502", FailureScope.TRANSIENT),
    ],
)
def test_error_response_means_a_reason_and_a_scope(response, reason, scope):
    error = call_error(response)
    assert (error.reason, error.scope) == (reason, scope)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "Too  many\\nrequests"}}', "HTTP 500: Too many requests"),
        (b'{"error": "out of memory"}', "HTTP 500: out of memory"),
        (b'{"detail": "Not found"}', "HTTP 500: Not found"),
        (b'{"message": "no"}', "HTTP 500: no"),
        (b'"text"', "HTTP 500: text"),
        (b"<html></html>", "HTTP 500: a page instead of JSON"),
        (b"", "HTTP 500: a page instead of JSON"),
        (b'{"error": {"message": "' + b"a" * 400 + b'"}}', "HTTP 500: " + "a" * 297 + "…"),
    ],
)
def test_servers_message_is_found_and_shortened(body, text):
    assert call_error(ErrorResponse.read(500, body)).message == text


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
    assert read({"retry-after": value}).retry_after == seconds


def test_no_retry_after():
    assert read({}).retry_after is None


def test_date_is_read_by_the_clock_of_the_server():
    headers = {"retry-after": "Thu, 01 Jan 2026 15:00:20 GMT", "date": "Thu, 01 Jan 2026 15:00:00 GMT"}
    assert read(headers).retry_after == 20.0


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
    assert read(ours | theirs).allowances == {"requests": Allowance(3, 1.0), "tokens": Allowance(0, 30.0)}
    assert read({"x-ratelimit-remaining-requests": "3"}).allowances == {}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("PT1M30S", 90.0),
        ("PT0.5S", 0.5),
        ("1767268801", 1.0),
        ("1767268801000", 1.0),
        ("1767268801.5", 1.5),
        ("1767268801000000", 1.0),
        ("1767268799", 0.0),
        ("100000000", 1e8),
        ("inf", float("inf")),
        ("1e400", float("inf")),
        ("2026-01-01T12:00:01.250Z", 1.25),
        ("2026-01-01T13:00:01+01:00", 1.0),
        ("Thu, 01 Jan 2026 12:00:01 GMT", 1.0),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("nan", None),
        ("1_000", None),
        ("١٢", None),
        ("P", None),
        ("PT", None),
        ("P999999999999D", None),
        ("Thu, 01 Jan 2026 12:00:00 +99999999999999999999", None),
        ("9" * 5_000, None),
        ("1s" * 4_000, None),
    ],
)
def test_wait_is_read_in_every_form(value, seconds):
    assert seconds_until(value, NOW) == seconds
    assert read({"retry-after": value}).retry_after == seconds


@pytest.mark.parametrize("value", ["1s", "9", "1m", "PT1H", "Thu, ", "2026-", "inf", "1.", " ", "é", "+"])
def test_wait_of_64_kb_is_read_in_linear_time(value):
    with linear_time():
        seconds_until(value * (65_536 // len(value)), NOW)


waits = st.text(max_size=70) | st.text("0123456789-+:.TZPYMDHSeinfat ,JanGMhu", max_size=40)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "date",
                "x-request-id",
                "location",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
            ]
        ),
        waits,
    )
)
def test_headers_of_any_content_are_typed_and_bounded(headers):
    said = read(headers)
    assert said.retry_after is None or said.retry_after >= 0
    assert all(allowance.remaining >= 0 and allowance.reset_seconds >= 0 for allowance in said.allowances.values())
    for text in (said.request_id, said.location):
        assert text is None or (len(text) < 1_000 and text.encode() is not None)
    assert said.request_id is None or said.request_id == cleaned(said.request_id, 200)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "param", "detail"]), inner)
    ),
)


@settings(deadline=None)
@given(st.integers(300, 599), st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
def test_error_of_any_content_is_a_call_error_with_a_short_sentence(status, body):
    error = call_error(ErrorResponse.read(status, body))
    assert error.message.startswith(f"HTTP {status}")
    assert len(error.message.encode()) < 320
    assert error.message == cleaned(error.message, 400)
