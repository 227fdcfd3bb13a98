"""A chat client without a stage: several servers, rate limits, samples, the first request, and nonstandard servers."""

import asyncio
import time
from collections import Counter

import pytest

from chat_faults import (
    closed_connection,
    html_page,
    insufficient_quota,
    malformed_json,
    rate_limited,
    script,
    server_error,
    slow,
    trickling,
    unknown_model,
    verbatim,
    where,
    without_usage,
    wrong_key,
)
from direct_chat_client import Failure, Reply, ask_all, chat_client, prompt_about, run_config
from distillery_trainer.runtime.errors import TryLater, UserError
from nonstandard_replies import error_as_200, limit_too_high, moved, other_model, streamed, used_up
from teacher_server import gold_teacher

PROMPTS = [prompt_about(number) for number in range(40)]
GOLD = {messages[-1]["content"]: "neutral" for messages in PROMPTS}
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def server():
    with gold_teacher(GOLD) as one:
        yield one


@pytest.fixture
def other():
    with gold_teacher(GOLD) as another:
        yield another


def kinds(outcomes) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in outcomes)


# --- samples


async def test_another_sample_is_another_reply_to_the_same_prompt(tmp_path, server):
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, journal):
        for _ in range(2):
            for sample in range(3):
                await teacher.ask(PROMPTS[0], sample=sample)
        assert len(server.requests) == len(journal) == 3
        assert server.requests[0].body == server.requests[2].body
        assert "seed" not in server.requests[0].body


async def test_same_request_at_the_same_time_is_sent_once(tmp_path, server):
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        assert kinds(await ask_all(teacher, [PROMPTS[0]] * 20)) == {"Reply": 20}
        assert len(server.requests) == 1


# --- several servers


async def test_servers_share_the_requests(tmp_path, server, other):
    server.application.latency = other.application.latency = 0.02
    async with chat_client(run_config(tmp_path, server.url, other.url)) as (teacher, _):
        assert kinds(await ask_all(teacher, PROMPTS)) == {"Reply": 40}
    assert len(server.requests) + len(other.requests) == 40
    assert min(len(server.requests), len(other.requests)) >= 15


async def test_failing_server_gets_few_requests(tmp_path, server, other):
    server.faults = lambda call: server_error(503)
    async with chat_client(run_config(tmp_path, server.url, other.url)) as (teacher, _):
        assert kinds(await ask_all(teacher, PROMPTS)) == {"Reply": 40}
    assert len(server.requests) <= 8


async def test_unreachable_server_loses_no_row_beside_a_reachable_one(tmp_path, server):
    config = run_config(tmp_path, NOWHERE, server.url, config={"maxAttempts": 3})
    async with chat_client(config) as (teacher, _):
        assert kinds(await ask_all(teacher, PROMPTS)) == {"Reply": 40}


@pytest.mark.parametrize("fault", [wrong_key(), unknown_model(), insufficient_quota()], ids=lambda fault: fault.name)
async def test_server_that_rejects_all_requests_is_left_out(tmp_path, server, other, fault, capfd):
    server.faults = lambda call: fault
    async with chat_client(run_config(tmp_path, server.url, other.url, config={"maxAttempts": 1})) as (teacher, _):
        assert kinds(await ask_all(teacher, PROMPTS)) == {"Reply": 40}
    assert len(server.requests) <= 8
    said = capfd.readouterr().err
    assert said.startswith(f"Teacher tester (teacher at {server.url}): ")
    assert said.endswith("Continuing with the other servers.\n")
    assert said.count("\n") == 1


async def test_last_server_that_rejects_all_requests_ends_the_stage(tmp_path, server, other):
    server.faults = other.faults = lambda call: wrong_key()
    async with chat_client(run_config(tmp_path, server.url, other.url)) as (teacher, _):
        with pytest.raises(UserError, match="The API key was rejected"):
            await teacher.ask(PROMPTS[0])


async def test_each_server_gets_its_own_key(tmp_path, server, other, monkeypatch):
    monkeypatch.setenv("FIRST", "sk-one")
    monkeypatch.setenv("SECOND", "sk-two")
    servers = [
        {"url": each.url, "apiKey": {"secretName": "keys", "key": name}}
        for each, name in ((server, "one"), (other, "two"))
    ]
    config = run_config(
        tmp_path,
        teacher={"servers": servers},
        config={"apiKeyVariables": {"keys/one": "FIRST", "keys/two": "SECOND"}},
    )
    async with chat_client(config) as (teacher, _):
        await ask_all(teacher, PROMPTS)
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer sk-one"}
    assert {request.headers["Authorization"] for request in other.requests} == {"Bearer sk-two"}


async def test_row_that_one_server_rate_limits_goes_to_the_other_at_once(tmp_path, server, other):
    server.faults = lambda call: rate_limited(600)
    async with chat_client(run_config(tmp_path, server.url, other.url)) as (teacher, _):
        started = time.monotonic()
        assert kinds(await ask_all(teacher, PROMPTS[:4])) == {"Reply": 4}
        assert time.monotonic() - started < 60


# --- waiting


async def test_waiting_for_a_rate_limit_uses_up_no_attempt(tmp_path, server):
    server.faults = script([rate_limited(0.1)] * 12)
    async with chat_client(run_config(tmp_path, server.url, config={"maxAttempts": 2})) as (teacher, _):
        assert isinstance(await teacher.ask(PROMPTS[0]), Reply)
    assert len(server.requests) == 13


async def test_server_that_rate_limits_all_requests_for_a_while_loses_no_row(tmp_path, server):
    started = time.monotonic()
    server.faults = lambda call: rate_limited(0.2) if time.monotonic() - started < 2 else None
    async with chat_client(run_config(tmp_path, server.url, config={"maxAttempts": 1})) as (teacher, _):
        assert kinds(await ask_all(teacher, PROMPTS)) == {"Reply": 40}


async def test_patience_with_a_teacher_that_rate_limits_all_requests_has_an_end(tmp_path, server):
    server.faults = lambda call: rate_limited(0.1)
    async with chat_client(run_config(tmp_path, server.url), patience=0.5) as (teacher, _):
        with pytest.raises(TryLater) as caught:
            await teacher.ask(PROMPTS[0])
    assert "rate-limits all requests and asks to wait 0 seconds; it has not replied for" in caught.value.message
    assert "HTTP 429: Rate limit reached for requests." in caught.value.message


async def test_wait_that_is_longer_than_all_patience_is_not_started(tmp_path, server):
    server.faults = lambda call: rate_limited(86_400)
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        with pytest.raises(TryLater, match="asks to wait 86,400 seconds"):
            await asyncio.wait_for(teacher.ask(PROMPTS[0]), 5)


async def test_row_that_alone_is_always_rate_limited_is_given_up(tmp_path, server):
    server.faults = where("Person 3 ", rate_limited(0.1))
    async with chat_client(run_config(tmp_path, server.url), patience=1.0) as (teacher, _):
        await teacher.ask(PROMPTS[0])
        asking = asyncio.create_task(teacher.ask(PROMPTS[3]))
        for messages in PROMPTS[4:12]:
            await asyncio.sleep(0.1)
            await teacher.ask(messages)
        outcome = await asking
    assert (outcome.reason, outcome.transient) == ("http_429", True)


async def test_api_key_with_an_exhausted_allowance_is_not_used_until_it_is_renewed(tmp_path, server):
    server.faults = script([used_up("400ms")])
    async with chat_client(run_config(tmp_path, server.url, generation={"concurrency": 1})) as (teacher, _):
        await ask_all(teacher, PROMPTS[:3])
    first, second, _ = server.requests
    assert second.started - first.ended >= 0.35


async def test_limit_of_requests_per_minute_is_kept(tmp_path, server):
    config = run_config(tmp_path, server.url, teacher={"limits": {"requestsPerMinute": 610}})
    async with chat_client(config) as (teacher, _):
        started = time.monotonic()
        await ask_all(teacher, PROMPTS[:20])
        assert time.monotonic() - started > 0.8  # 10 at once, and then 10 a second


async def test_limit_of_tokens_per_minute_counts_the_tokens_really_used(tmp_path, server):
    config = run_config(
        tmp_path,
        server.url,
        teacher={"limits": {"tokensPerMinute": 6100}},
        generation={"sampling": {"maxTokens": 16}, "concurrency": 1},
    )
    async with chat_client(config) as (teacher, _):
        started = time.monotonic()
        await ask_all(teacher, PROMPTS[:10])
        used = server.statistics()
        tokens = used["promptTokens"] + used["completionTokens"]
        assert tokens == 280
        assert time.monotonic() - started > (tokens - 100) / 100 - 0.4  # a hundred at once, and then each second


async def test_stage_that_ends_waits_for_no_request(tmp_path, server):
    server.faults = lambda call: rate_limited(600)
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        asking = asyncio.create_task(ask_all(teacher, PROMPTS))
        await asyncio.sleep(0.3)
        teacher.stopping.set()
        assert kinds(await asyncio.wait_for(asking, 2)) == {"Stopping": 40}


# --- the first request


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (wrong_key(), UserError, "The API key was rejected."),
        (unknown_model(), UserError, 'There is no model "teacher"'),
        (html_page(200), UserError, "this is not a chat API"),
        (html_page(502), TryLater, "did not answer the first request: HTTP 502: a page instead of JSON (3 attempts)"),
        (error_as_200(), TryLater, "HTTP 503: The model is overloaded. (3 attempts)"),
        (
            moved("https://elsewhere.example"),
            UserError,
            "It redirects to https://elsewhere.example: use that as endpoint",
        ),
        (
            limit_too_high(),
            UserError,
            "It does not generate replies of this length: lower generation.sampling.maxTokens.",
        ),
    ],
)
async def test_first_request_fails_with_the_servers_message(tmp_path, server, fault, error, words):
    server.faults = lambda call: fault
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        with pytest.raises(error) as caught:
            await teacher.ask(PROMPTS[0])
    assert words in caught.value.message
    assert caught.value.message.startswith(f"Teacher tester (teacher at {server.url})")
    assert len(server.requests) <= 3


async def test_first_request_to_an_unreachable_server(tmp_path):
    async with chat_client(run_config(tmp_path, NOWHERE)) as (teacher, _):
        with pytest.raises(TryLater, match=r"cannot be reached \(3 attempts\). Connection failed"):
            await teacher.ask(PROMPTS[0])


async def test_first_request_is_paid_for_once(tmp_path, server):
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        assert await teacher.ask(PROMPTS[0]) == await teacher.ask(PROMPTS[0])
        assert len(server.requests) == 1


async def test_teacher_that_answered_before_is_not_tried_alone_again(tmp_path, server):
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        await teacher.ask(PROMPTS[0])
    server.faults = lambda call: server_error(500)
    async with chat_client(run_config(tmp_path, server.url, config={"maxAttempts": 2})) as (teacher, _):
        await teacher.ask(PROMPTS[0])
        outcomes = await ask_all(teacher, PROMPTS[1:4])
    assert [outcome.reason for outcome in outcomes] == ["http_500"] * 3


async def test_others_wait_until_the_first_request_is_answered(tmp_path, server):
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        await ask_all(teacher, PROMPTS[:4])
    first, *others = server.requests
    assert all(request.started >= first.ended for request in others)


async def test_row_that_is_rejected_for_its_content_does_not_end_the_stage_at_the_first_request(tmp_path, server):
    server.faults = where("Person 0 ", server_error(418))
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        assert isinstance(await teacher.ask(PROMPTS[0]), Failure)


# --- nonstandard servers


async def test_stream_that_was_not_requested_is_read(tmp_path, server):
    server.faults = lambda call: streamed("neu", "tral")
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, journal):
        reply = await teacher.ask(PROMPTS[0])
        assert (reply.content, reply.finish_reason) == ("neutral", "stop")
        assert journal.usage.uncounted_replies == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (streamed("neu", ends=False), "bad_response"),
        (error_as_200("Out of memory.", "oom"), "http_500"),
        (closed_connection(), "connection_closed"),
        (trickling(), "timeout"),
        (slow(20), "timeout"),
    ],
    ids=["cut stream", "error as 200", "closed in the middle", "trickling", "slow"],
)
async def test_reply_that_is_never_complete_is_a_transient_failure(tmp_path, server, fault, reason):
    server.faults = where("Person 0 ", fault)
    config = run_config(tmp_path, server.url, config={"maxAttempts": 2, "requestTimeoutSeconds": 0.5})
    async with chat_client(config) as (teacher, _):
        await teacher.ask(PROMPTS[1])
        failure = await teacher.ask(PROMPTS[0])
    assert (failure.reason, failure.transient) == (reason, True)
    assert len(server.requests) == 3


async def test_other_name_of_the_model_is_kept_with_the_reply_and_reported_once(tmp_path, server, capfd):
    server.faults = lambda call: other_model("teacher-2026-01-01")
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
        outcomes = await ask_all(teacher, PROMPTS)
    assert {reply.model for reply in outcomes} == {"teacher-2026-01-01"}
    assert (
        capfd.readouterr().err == 'Teacher tester: requested model "teacher", got replies from "teacher-2026-01-01".\n'
    )


async def test_server_that_does_not_count_is_estimated(tmp_path, server):
    server.faults = lambda call: without_usage()
    async with chat_client(run_config(tmp_path, server.url)) as (teacher, journal):
        reply = await teacher.ask(PROMPTS[0])
        assert reply.tokens is None
        assert journal.usage.uncounted_replies == 1
        assert 10 < journal.usage.input_tokens < 60


COT = {"chainOfThought": True}


async def test_ignored_response_format_is_noticed_and_replaced(tmp_path, server):
    server.faults = lambda call: verbatim("It is neutral.")
    config = run_config(tmp_path, server.url, generation=COT | {"concurrency": 1})
    async with chat_client(config) as (teacher, _):
        for messages in PROMPTS[:8]:
            await teacher.ask(messages)
    sent = [request.body.get("response_format", {}).get("type") for request in server.requests]
    assert sent == ["json_schema"] * 3 + ["json_object"] * 3 + [None] * 2


async def test_honoured_response_format_stays(tmp_path, server):
    server.faults = script([None, *[verbatim("It is neutral.")] * 10, malformed_json()])
    config = run_config(tmp_path, server.url, generation=COT | {"concurrency": 1})
    async with chat_client(config) as (teacher, _):
        for messages in PROMPTS[:14]:
            await teacher.ask(messages)
    assert {request.body["response_format"]["type"] for request in server.requests} == {"json_schema"}


async def test_rejected_response_format_becomes_plain_json_first(tmp_path):
    with gold_teacher(GOLD, refused_parameters=("response_format",)) as server:
        config = run_config(tmp_path, server.url, generation=COT | {"concurrency": 1})
        async with chat_client(config) as (teacher, _):
            for messages in PROMPTS[:4]:
                await teacher.ask(messages)
        sent = [request.body.get("response_format", {}).get("type") for request in server.requests]
        assert sent == ["json_schema", "json_object", None, None, None, None]


async def test_requests_in_flight_never_exceed_the_concurrency(tmp_path, server, other):
    server.application.latency = other.application.latency = 0.05
    config = run_config(tmp_path, server.url, other.url, generation={"concurrency": 3})
    async with chat_client(config) as (teacher, _):
        await ask_all(teacher, PROMPTS)
    assert server.peak_in_flight + other.peak_in_flight <= 6
    assert max(server.peak_in_flight, other.peak_in_flight) <= 3


async def test_proxy_of_the_environment_is_used_with_its_exceptions(tmp_path, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    async with chat_client(run_config(tmp_path, "http://teacher.invalid/v1")) as (teacher, _):
        assert (await teacher.ask(PROMPTS[0])).content == "neutral"
    assert server.requests[0].headers["Host"] == "teacher.invalid"
