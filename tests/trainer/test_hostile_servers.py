"""Servers that send too much, too slowly or no HTTP: a call ends as a reply or a named failure, in little memory."""

import asyncio
import gzip
import json
import sys
import time
import tracemalloc
import zlib

import pytest

from direct_chat_client import Failure, Reply, ask_all, chat_client, prompt_about, run_config
from distillery_trainer.chat.error_responses import ErrorResponse
from distillery_trainer.runtime.errors import TryLater, UserError
from nonstandard_replies import bomb, completion
from raw_server import always, endless, http, raw_server, whole_reply

PROMPTS = [prompt_about(number) for number in range(12)]
MEGABYTE = 1024 * 1024
LITTLE = 40 * MEGABYTE


def chunked(body: bytes, headers: dict[str, str]) -> bytes:
    head = http(200, None, {"Transfer-Encoding": "chunked", **headers})
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


BOMB = bomb(500)
GZIP = {"Content-Encoding": "gzip"}


def compressed_twice(body: bytes) -> bytes:
    return gzip.compress(gzip.compress(body, mtime=0), mtime=0)


async def first_reply_then(tmp_path, respond, prompts=PROMPTS[1:2], seconds=20.0, attempts=1):
    """The outcomes of some requests to a server that answered the first one as it should."""
    answered = []

    async def after_the_first(writer, head):
        answered.append(head)
        await (always(whole_reply()) if len(answered) == 1 else respond)(writer, head)

    with raw_server(after_the_first) as server:
        config = run_config(tmp_path, server.url, config={"maxAttempts": attempts, "requestTimeoutSeconds": seconds})
        async with chat_client(config) as (teacher, _):
            assert isinstance(await teacher.ask(PROMPTS[0]), Reply)
            return await ask_all(teacher, prompts)


@pytest.mark.parametrize(
    "response",
    [
        http(200, BOMB, GZIP),
        http(200, None, GZIP) + BOMB,
        chunked(BOMB, GZIP),
        http(200, zlib.compress(b" " * 100 * MEGABYTE), {"Content-Encoding": "deflate"}),
        http(200, b" " * 3 * MEGABYTE),
        http(200, None) + b" " * 3 * MEGABYTE,
        http(
            200,
            gzip.compress(gzip.compress(b" " * 10 * MEGABYTE, mtime=0), mtime=0),
            {"Content-Encoding": "gzip, gzip"},
        ),
        http(200, b"\x8b" * 100, {"Content-Encoding": "br"}),
        http(200, b"\x28\xb5\x2f\xfd" * 100, {"Content-Encoding": "zstd"}),
        http(200, b"not gzip", GZIP),
        http(200, BOMB[:2000], GZIP),
    ],
    ids=range(11),
)
async def test_body_that_is_no_reply_is_a_bad_response_in_little_memory(tmp_path, response):
    tracemalloc.start()
    (failure,) = await first_reply_then(tmp_path, always(response))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (failure.reason, failure.transient) == ("bad_response", True)
    assert peak < LITTLE + len(response)


async def test_many_bombs_at_once_stay_in_little_memory(tmp_path):
    tracemalloc.start()
    outcomes = await first_reply_then(tmp_path, always(http(200, BOMB, GZIP)), PROMPTS[1:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [outcome.reason for outcome in outcomes] == ["bad_response"] * 11
    assert peak < LITTLE + 12 * len(BOMB)


async def test_packed_reply_is_a_reply(tmp_path):
    body = json.dumps(completion("neutral")).encode()
    for number, response in enumerate([http(200, gzip.compress(body), GZIP), chunked(gzip.compress(body), GZIP)]):
        (reply,) = await first_reply_then(tmp_path / str(number), always(response))
        assert reply.content == "neutral"


async def test_error_that_unpacks_to_gigabytes_is_that_error(tmp_path):
    (failure,) = await first_reply_then(tmp_path, always(http(418, BOMB, GZIP)))
    assert failure.reason == "http_418"


@pytest.mark.parametrize(
    ("respond", "reasons"),
    [
        (endless(http(200, None), b" " * 65_536), {"bad_response"}),
        (endless(http(200, None), b" ", pause=0.01), {"timeout"}),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), {"bad_response"}),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", pause=0.05), {"timeout"}),
        (endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 1_000), {"bad_response"}),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.001), {"timeout"}),
        (endless(http(400, None), b"a" * 65_536), {"http_400"}),
        (endless(http(200, None, {"Transfer-Encoding": "chunked"}), b"1\r\n \r\n"), {"bad_response", "timeout"}),
        (always(b"not HTTP\r\n\r\n"), {"bad_response", "connection_closed"}),
        (always(b"HTTP/1.1 99999 X\r\n\r\n"), {"bad_response"}),
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), {"bad_response"}),
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n"), {"bad_response"}),
        (always(b"HTTP/1.1 200 OK\r\nA\x00b: c\r\n\r\n"), {"bad_response"}),
        (always(http(204, b"")), {"bad_response"}),
    ],
    ids=range(14),
)
async def test_response_without_an_end_or_in_broken_http_ends_within_the_timeout(tmp_path, respond, reasons):
    started = time.monotonic()
    (failure,) = await first_reply_then(tmp_path, respond, seconds=2.0)
    assert time.monotonic() - started < 60
    assert failure.reason in reasons
    assert "\x1b" not in failure.message


async def test_redirect_to_control_characters_is_shown_without_them(tmp_path):
    (error,) = await first_reply_then(tmp_path, always(http(308, b"", {"Location": "/\x01\x1b[31mv2\x9b"})))
    assert isinstance(error, UserError)
    assert error.message.partition("It redirects to ")[2].partition("/v2: use that")[0].startswith("http://127.0.0.1:")


# --- waiting


@pytest.mark.parametrize("status", [429, 503, 500, 529, 408])
@pytest.mark.parametrize("wait", ["100000000", "inf", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T00:00:00Z"])
async def test_server_that_asks_to_wait_for_longer_than_all_patience_ends_the_stage(tmp_path, status, wait):
    with raw_server(always(http(status, b"{}", {"Retry-After": wait}))) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            with pytest.raises(TryLater, match=r"and asks to wait .*All paid replies are kept; run again later\."):
                await asyncio.wait_for(teacher.ask(PROMPTS[0]), 5)
        assert len(server.requests) == 1


async def test_later_request_whose_rate_limit_lasts_for_years_ends_the_stage(tmp_path):
    respond = always(http(429, b"{}", {"Retry-After": "100000000"}))
    (error,) = await asyncio.wait_for(first_reply_then(tmp_path, respond, attempts=2), 10)
    assert isinstance(error, TryLater)
    assert "asks to wait 100,000,000 seconds; it has not replied for 0 seconds" in error.message


async def test_single_later_request_that_is_to_wait_for_years_is_rejected(tmp_path):
    respond = always(http(503, b"{}", {"Retry-After": "100000000"}))
    (failure,) = await asyncio.wait_for(first_reply_then(tmp_path, respond, attempts=2), 10)
    assert (failure.reason, failure.transient) == ("http_503", True)


async def test_all_later_requests_that_are_to_wait_for_years_end_the_stage(tmp_path):
    respond = always(http(503, b"{}", {"Retry-After": "100000000"}))
    outcomes = await asyncio.wait_for(first_reply_then(tmp_path, respond, PROMPTS[1:7], attempts=2), 10)
    assert [outcome.reason for outcome in outcomes[:4]] == ["http_503"] * 4
    assert all(isinstance(outcome, TryLater) for outcome in outcomes[4:])
    assert "asks to wait 100,000,000 seconds; it has not replied for 0 seconds" in outcomes[4].message


@pytest.mark.parametrize("wait", ["nan", "-1", "soon", "", "1,5"])
async def test_wait_that_cannot_be_read_is_none(tmp_path, wait):
    (failure,) = await first_reply_then(tmp_path, always(http(503, b"{}", {"Retry-After": wait})))
    assert (failure.reason, failure.transient) == ("http_503", True)


async def test_two_servers_that_always_rate_limit_end_the_stage(tmp_path):
    respond = always(http(429, b"{}", {"Retry-After": "0.1"}))
    with raw_server(respond) as one, raw_server(respond) as other:
        async with chat_client(run_config(tmp_path, one.url, other.url), patience=1.0) as (teacher, _):
            with pytest.raises(TryLater, match="rate-limits all requests"):
                await asyncio.wait_for(teacher.ask(PROMPTS[0]), 10)


@pytest.mark.parametrize("unit", [1, 1_000])
@pytest.mark.parametrize("status", [429, 503])
async def test_wait_until_a_time_in_a_second_takes_about_a_second(tmp_path, unit, status):
    answered = []

    async def respond(writer, _):
        answered.append(time.monotonic())
        wait = {"Retry-After": str(int((time.time() + 1) * unit))}
        writer.write(http(status, b"{}", wait) if len(answered) == 1 else whole_reply())

    with raw_server(respond) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            assert isinstance(await teacher.ask(PROMPTS[0]), Reply)
    assert answered[1] - answered[0] < 3.5


async def test_first_response_that_is_a_bomb_ends_the_stage_with_a_sentence(tmp_path):
    with raw_server(always(http(200, BOMB, GZIP))) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            with pytest.raises(UserError) as caught:
                await teacher.ask(PROMPTS[0])
    assert "The server answered, but its body is longer than any reply to this request." in caught.value.message
    assert not isinstance(caught.value, Failure)
    assert sys.getsizeof(caught.value.message) < 1_000


@pytest.mark.parametrize(("path", "hint"), [("", ", such as {address}/v1 "), ("/v1", " (generation.teachers)")])
async def test_endpoint_without_a_version_is_suggested_one(tmp_path, path, hint):
    with raw_server(always(http(404, b"404 page not found"))) as server:
        async with chat_client(run_config(tmp_path, f"{server.address}{path}")) as (teacher, _):
            with pytest.raises(UserError) as caught:
                await teacher.ask(PROMPTS[0])
    assert f"ends in /v1 with most servers{hint.format(address=server.address)}" in caught.value.message
    assert caught.value.message.endswith("It answered: HTTP 404: 404 page not found")


def test_broken_json_of_an_error_is_searched_for_its_message():
    for body in (b'{"error": {"message": "No \\q \\"such\\" thing', b'{"message": "No \\q \\"such\\" thing", oops'):
        assert ErrorResponse.read(400, body).text == 'No q "such" thing'
