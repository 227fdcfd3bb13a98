"""The chat server implements the protocol as the openai client expects it, and fails as scheduled."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from chat_faults import (
    Fault,
    chatty,
    closed_connection,
    content_filtered,
    content_refused,
    context_too_long,
    cut_off,
    empty,
    fenced,
    first_of,
    html_page,
    insufficient_quota,
    labelled,
    malformed_json,
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
from chat_protocol import Answer
from chat_server import TeacherServer
from server_process import server_process

ANSWER = Answer("neutral", "Nothing follows.")
USER_MESSAGES = [{"role": "user", "content": "Premise: P\nHypothesis: H"}]
JSON_MESSAGES = [{"role": "user", "content": 'Reply as JSON {"reason", "answer_choice"}. Premise: P\nHypothesis: H'}]


@pytest.fixture
def teacher() -> Iterator[TeacherServer]:
    with TeacherServer(lambda _: ANSWER) as server:
        yield server


def ask(teacher: TeacherServer, messages: Any = None, *, key: str = "any", **options: Any) -> Any:
    with openai.OpenAI(base_url=teacher.url, api_key=key, max_retries=0, timeout=options.pop("timeout", 10)) as client:
        request = {"model": "teacher", "messages": messages or USER_MESSAGES} | options
        return client.chat.completions.create(**request)


def content(reply: Any) -> Any:
    return reply.choices[0].message.content


# --- good replies


def test_plain_prompt_gets_the_label_only(teacher: TeacherServer) -> None:
    reply = ask(teacher)
    assert content(reply) == "neutral"
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.id, reply.model, reply.object) == ("chatcmpl-00000000", "teacher", "chat.completion")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (10, 1, 11)


def test_prompt_that_names_the_keys_gets_json_with_the_reason_first(teacher: TeacherServer) -> None:
    assert content(ask(teacher, JSON_MESSAGES)) == '{"reason": "Nothing follows.", "answer_choice": "neutral"}'


def test_response_format_that_names_the_keys_gets_json(teacher: TeacherServer) -> None:
    schema = {"type": "object", "properties": {"reason": {"type": "string"}, "answer_choice": {"type": "string"}}}
    response_format = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    assert json.loads(content(ask(teacher, response_format=response_format)))["answer_choice"] == "neutral"


def test_content_in_parts_is_read(teacher: TeacherServer) -> None:
    ask(teacher, [{"role": "user", "content": [{"type": "text", "text": "Premise: P"}]}])
    assert teacher.requests[0].user_text == "Premise: P"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_reply_over_the_limit_is_cut_with_reason_length(teacher: TeacherServer, name: str) -> None:
    reply = ask(teacher, JSON_MESSAGES, **{name: 4})
    assert content(reply) == '{"reason"'
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 4


def test_asking_for_three_samples_gets_three_choices(teacher: TeacherServer) -> None:
    assert [choice.index for choice in ask(teacher, n=3).choices] == [0, 1, 2]


def test_models_are_listed(teacher: TeacherServer) -> None:
    with openai.OpenAI(base_url=teacher.url, api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["teacher"]


# --- invalid requests


def test_wrong_key_is_401() -> None:
    with TeacherServer(lambda _: ANSWER, api_key="right") as teacher:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            ask(teacher, key="wrong")
        assert content(ask(teacher, key="right")) == "neutral"
    assert [request.status for request in teacher.requests] == [401, 200]


def test_unknown_model_is_404(teacher: TeacherServer) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ask(teacher, model="gpt-9")
    assert refused.value.code == "model_not_found"
    assert "The model `gpt-9` does not exist." in refused.value.message


def test_prompt_and_limit_over_the_context_are_400() -> None:
    with TeacherServer(lambda _: ANSWER, context_tokens=100) as teacher:
        with pytest.raises(openai.BadRequestError) as refused:
            ask(teacher, max_tokens=91)
        assert refused.value.code == "context_length_exceeded"
        assert "100 tokens, but you asked for 101 tokens" in refused.value.message
        assert content(ask(teacher, max_tokens=90)) == "neutral"


def test_refused_parameter_is_400_and_named() -> None:
    with TeacherServer(lambda _: ANSWER, refused_parameters=("max_tokens",)) as teacher:
        with pytest.raises(openai.BadRequestError, match="Use 'max_completion_tokens' instead") as refused:
            ask(teacher, max_tokens=50)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "max_tokens")
        assert content(ask(teacher, max_completion_tokens=50)) == "neutral"


def test_streaming_is_refused(teacher: TeacherServer) -> None:
    with pytest.raises(openai.BadRequestError, match="'stream' is not supported"):
        ask(teacher, stream=True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "body is not JSON"),
        (b"[]", "has no messages"),
        (b'{"model": "teacher", "messages": []}', "has no messages"),
    ],
)
def test_invalid_chat_request_is_400(teacher: TeacherServer, body: bytes, message: str) -> None:
    request = urllib.request.Request(f"{teacher.url}/chat/completions", data=body)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    assert message in json.load(refused.value)["error"]["message"]


# --- faults


@pytest.mark.parametrize(
    ("fault", "error", "status", "code"),
    [
        (rate_limited(7), openai.RateLimitError, 429, "rate_limit_exceeded"),
        (insufficient_quota(), openai.RateLimitError, 429, "insufficient_quota"),
        (server_error(), openai.InternalServerError, 500, "internal_error"),
        (server_error(503), openai.InternalServerError, 503, "internal_error"),
        (html_page(), openai.InternalServerError, 502, None),
        (wrong_key(), openai.AuthenticationError, 401, "invalid_api_key"),
        (unknown_model(), openai.NotFoundError, 404, "model_not_found"),
        (context_too_long(), openai.BadRequestError, 400, "context_length_exceeded"),
        (content_refused(), openai.BadRequestError, 400, "content_filter"),
    ],
)
def test_refusal_reaches_the_client(
    teacher: TeacherServer, fault: Fault, error: type[openai.APIStatusError], status: int, code: str | None
) -> None:
    teacher.faults = script([fault])
    with pytest.raises(error) as refused:
        ask(teacher)
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert teacher.requests[0].fault == fault.name


@pytest.mark.parametrize(("wait", "header"), [(7, "7"), (0.5, "0.5"), (None, None)])
def test_rate_limit_says_how_long_to_wait(teacher: TeacherServer, wait: float | None, header: str | None) -> None:
    teacher.faults = script([rate_limited(wait)])
    with pytest.raises(openai.RateLimitError) as refused:
        ask(teacher)
    assert refused.value.response.headers.get("retry-after") == header


@pytest.mark.parametrize(
    ("fault", "sent", "finish_reason"),
    [
        (empty(), "", "stop"),
        (content_filtered(), "", "content_filter"),
        (cut_off(), '{"reason": "Nothing follows.', "length"),
        (fenced(), '```json\n{"reason": "Nothing follows.", "answer_choice": "neutral"}\n```', "stop"),
        (labelled("maybe"), '{"reason": "Nothing follows.", "answer_choice": "maybe"}', "stop"),
        (chatty("Hm: ", "!"), 'Hm: {"reason": "Nothing follows.", "answer_choice": "neutral"}!', "stop"),
        (
            think_span("Let me see."),
            '<think>Let me see.</think>\n{"reason": "Nothing follows.", "answer_choice": "neutral"}',
            "stop",
        ),
        (verbatim(None), None, "stop"),
    ],
)
def test_changed_reply_reaches_the_client(
    teacher: TeacherServer, fault: Fault, sent: str | None, finish_reason: str
) -> None:
    teacher.faults = script([fault])
    reply = ask(teacher, JSON_MESSAGES)
    assert (content(reply), reply.choices[0].finish_reason) == (sent, finish_reason)


@pytest.mark.parametrize("messages", [USER_MESSAGES, JSON_MESSAGES])
def test_malformed_reply_is_not_json(teacher: TeacherServer, messages: Any) -> None:
    teacher.faults = script([malformed_json()])
    with pytest.raises(json.JSONDecodeError):
        json.loads(content(ask(teacher, messages)))


def test_reasoning_is_in_a_separate_field(teacher: TeacherServer) -> None:
    teacher.faults = script([reasoning_content("Let me see.")])
    reply = ask(teacher)
    assert (content(reply), reply.choices[0].message.reasoning_content) == ("neutral", "Let me see.")


def test_usage_can_be_missing(teacher: TeacherServer) -> None:
    teacher.faults = script([without_usage()])
    assert ask(teacher).usage is None


def test_slow_reply_comes_late(teacher: TeacherServer) -> None:
    teacher.faults = script([slow(0.3)])
    started = time.monotonic()
    assert content(ask(teacher)) == "neutral"
    assert time.monotonic() - started >= 0.3


def test_connection_closed_in_the_middle_of_the_body_is_an_error(teacher: TeacherServer) -> None:
    teacher.faults = script([closed_connection()])
    with pytest.raises(openai.APIConnectionError):
        ask(teacher)
    assert content(ask(teacher)) == "neutral"


def test_trickling_body_outlives_a_limit_on_single_reads(teacher: TeacherServer) -> None:
    teacher.faults = script([trickling()])

    async def trickle() -> None:
        async with openai.AsyncOpenAI(base_url=teacher.url, api_key="any", max_retries=0, timeout=1) as client:
            await client.chat.completions.create(model="teacher", messages=[{"role": "user", "content": "P"}])

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(trickle(), timeout=2))


def test_server_stops_while_a_reply_is_outstanding() -> None:
    with TeacherServer(lambda _: ANSWER, latency=600) as teacher:
        with pytest.raises(openai.APITimeoutError):
            ask(teacher, timeout=0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 60


# --- schedules


def test_fault_for_a_row_ends_after_the_given_attempts(teacher: TeacherServer) -> None:
    teacher.faults = where("Premise: P", server_error(), times=2)
    statuses = []
    for _ in range(3):
        try:
            ask(teacher)
            statuses.append(200)
        except openai.InternalServerError:
            statuses.append(500)
    assert statuses == [500, 500, 200]
    assert [request.attempt for request in teacher.requests] == [0, 1, 2]


def test_first_schedule_with_a_fault_wins(teacher: TeacherServer) -> None:
    teacher.faults = first_of(where("elsewhere", empty()), where("Premise", labelled("a")), where("P", labelled("b")))
    assert content(ask(teacher)) == "a"


def test_new_script_starts_at_its_first_fault(teacher: TeacherServer) -> None:
    teacher.faults = script([None, labelled("second")])
    assert [content(ask(teacher)) for _ in range(3)] == ["neutral", "second", "neutral"]
    teacher.faults = script([labelled("first")])
    assert content(ask(teacher)) == "first"


# --- what is recorded


def test_request_is_recorded_with_headers_and_body(teacher: TeacherServer) -> None:
    ask(teacher, key="secret", temperature=0.2)
    [request] = teacher.requests
    assert request.headers["Authorization"] == "Bearer secret"
    assert (request.body["temperature"], request.messages) == (0.2, USER_MESSAGES)
    assert (request.status, request.fault, request.number) == (200, None, 0)


def test_peak_of_requests_in_flight_is_counted() -> None:
    async def ask_at_once(teacher: TeacherServer, count: int) -> None:
        async with openai.AsyncOpenAI(base_url=teacher.url, api_key="any") as client:
            messages: Any = USER_MESSAGES
            await asyncio.gather(
                *(client.chat.completions.create(model="teacher", messages=messages) for _ in range(count))
            )

    with TeacherServer(lambda _: ANSWER, latency=0.5) as teacher:
        asyncio.run(ask_at_once(teacher, 7))
        assert teacher.peak_in_flight == 7
        assert teacher.journal.in_flight == 0


def test_statistics_count_by_status_and_fault(teacher: TeacherServer) -> None:
    teacher.faults = script([fenced(), rate_limited()])
    ask(teacher)
    with pytest.raises(openai.RateLimitError):
        ask(teacher)
    with urllib.request.urlopen(teacher.url.replace("/v1", "/stats")) as response:
        statistics = json.load(response)
    assert statistics["byStatus"] == {"200": 1, "429": 1}
    assert statistics["byFault"] == {"fenced": 1, "rate_limited": 1}
    assert (statistics["requests"], statistics["inFlight"], statistics["peakInFlight"]) == (2, 0, 1)
    assert statistics["promptTokens"] == 10


def test_port_in_use_is_raised_where_the_server_is_entered(teacher: TeacherServer) -> None:
    port = int(teacher.url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(OSError, match="address already in use"), TeacherServer(lambda _: ANSWER, port=port):
        pass


# --- as a process


def test_process_writes_its_port_answers_and_ends_on_sigterm(tmp_path: Path) -> None:
    user_message = "Premise: Mara sang and Tom cooked.\nHypothesis: Tom sang."
    with (
        server_process("examples/quickstart/standin_teacher.py", tmp_path / "port", "--calm") as url,
        openai.OpenAI(base_url=url, api_key="any") as client,
    ):
        reply = client.chat.completions.create(
            model="standin-teacher", messages=[{"role": "user", "content": user_message}]
        )
    assert content(reply) == "neutral"
