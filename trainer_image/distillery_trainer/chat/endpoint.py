"""One call to an OpenAI-compatible server.

aiohttp does the HTTP; requests are written and replies read without a client's models, which would be half of a call's
CPU time. Nothing is tried again here, except at once where only a parameter was refused.
"""

from __future__ import annotations

import asyncio
import resource
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.completions import read_completion
from distillery_trainer.chat.error_responses import (
    Allowance,
    CallError,
    ErrorResponse,
    FailureScope,
    allowances,
    call_error,
)
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.request_parameters import (
    OUTPUT_LIMITS,
    FormatWatch,
    is_too_much,
    refused_parameter,
    without_parameter,
)
from distillery_trainer.data.records import Message

_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)
_LONGEST_CONNECT = 30.0
_KEEP_ALIVE = 4.0
"""Seconds. vLLM's server closes connections that were idle for 5, and a call that meets the closing is lost."""
_LONGEST_BODY = 64 * 1024 * 1024
_OTHER_FILES = 128
"""Open files beside connections: libraries, outputs, segments of the journal."""


def connections_allowed(wanted: int) -> int:
    """How many connections this process may hold, raising its limit of open files where it may; `wanted` at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, NO_PROXY and so on) names for a URL."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


class Endpoint:
    """A model behind a base URL. Remembers which parameters the server does not take."""

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None,
        parameters: Mapping[str, Any],
        *,
        connections: int,
        timeout: float,
    ) -> None:
        self._url = url.rstrip("/") + "/chat/completions"
        self._model, self._key, self._timeout = model, key, timeout
        self.parameters = dict(parameters)
        self._format = FormatWatch()
        self._connections = connections
        self.on_allowances: Callable[[dict[str, Allowance]], object] = lambda _: None
        """Told what the server says that the key may still do, where it says so."""
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, messages: list[Message], temperature: float | None = None) -> Reply:
        """Ask once, at the usual temperature or this one; again, at once, where only a parameter was refused. Raises
        CallError.

        The time-out is around the whole call: one around single reads is never exceeded by a body that trickles in.
        """
        while True:
            taken = self.parameters
            sent = taken if temperature is None or "temperature" not in taken else {**taken, "temperature": temperature}
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._post(sent, messages)
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise self._broken_call(error) from error
            if isinstance(answer, Reply):
                self._watch_format(taken, answer)
                return answer
            self._learn_from(answer, taken)

    async def _post(self, parameters: Mapping[str, Any], messages: list[Message]) -> Reply | ErrorResponse:
        body = orjson.dumps({"model": self._model, **parameters, "messages": messages})
        started = time.perf_counter()
        async with self._opened().post(self._url, data=body, allow_redirects=False) as response:
            content = await _read_body(response)
            seconds, headers = time.perf_counter() - started, response.headers
            if "x-ratelimit-remaining-requests" in headers or "anthropic-ratelimit-requests-remaining" in headers:
                self.on_allowances(allowances(headers, datetime.now(UTC)))
            if response.status != 200:
                return ErrorResponse(response.status, self._without_key(content), headers)
        request_id = headers.get("x-request-id")
        return read_completion(self._without_key(content), seconds, request_id, self._model, headers)

    def _opened(self) -> aiohttp.ClientSession:
        """The session, which wants a running loop to be made."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEP_ALIVE),
                headers={"Content-Type": "application/json", "User-Agent": "distillery"}
                | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
                timeout=aiohttp.ClientTimeout(sock_connect=min(_LONGEST_CONNECT, self._timeout)),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=proxy_for(self._url),
            )
        return self._session

    # --- learning what the server takes

    def _learn_from(self, refusal: ErrorResponse, sent: Mapping[str, Any]) -> None:
        """Leave out what was refused from now on. Raises CallError where that is not why."""
        failure = call_error(refusal, datetime.now(UTC))
        parameter = refused_parameter(refusal, sent)
        if parameter is None or failure.reason in (RejectionReason.CONTENT_FILTER, RejectionReason.CONTEXT_TOO_LONG):
            raise failure
        if parameter in OUTPUT_LIMITS and is_too_much(refusal):
            raise CallError(RejectionReason.OUTPUT_LIMIT, failure.message, FailureScope.TEACHER)
        self._forget(parameter, sent)

    def _watch_format(self, sent: Mapping[str, Any], reply: Reply) -> None:
        if "response_format" in sent and reply.finish_reason == "stop" and self._format.ignores(reply.content):
            self._forget("response_format", sent)

    def _forget(self, parameter: str, sent: Mapping[str, Any]) -> None:
        """Do without a parameter from now on; another call may have seen to that already."""
        if self.parameters.get(parameter) == sent[parameter]:
            self.parameters = without_parameter(self.parameters, parameter)

    # --- failures

    def _without_key(self, body: bytes) -> bytes:
        """What the server said, in case it repeats the key."""
        return body.replace(self._key.encode(), b"***") if self._key else body

    def _broken_call(self, error: Exception) -> CallError:
        """The error of a call that got no HTTP answer, or half of one."""
        if isinstance(error, _NEVER_CONNECTED):
            return CallError(
                RejectionReason.UNREACHABLE,
                f"No connection: {error}.",
                FailureScope.AGAIN,
                answered=False,
                connected=False,
            )
        if isinstance(error, aiohttp.InvalidURL):
            return CallError(RejectionReason.BAD_URL, f"Not an address: {error}.", FailureScope.TEACHER, answered=False)
        if isinstance(error, TimeoutError):
            problem = f"No whole reply within {self._timeout:g} seconds (generation.requestTimeoutSeconds)."
            return CallError(RejectionReason.TIMEOUT, problem, FailureScope.AGAIN, answered=False, costs_nothing=False)
        problem = "The connection was closed before the whole reply was there."
        return CallError(
            RejectionReason.CONNECTION_CLOSED, problem, FailureScope.AGAIN, answered=False, costs_nothing=False
        )


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises aiohttp.ClientPayloadError where it is longer than any reply."""
    if (response.content_length or 0) > _LONGEST_BODY:
        raise aiohttp.ClientPayloadError("the body is too long")
    if response.content_length is not None:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise aiohttp.ClientPayloadError("the body is too long")
    return bytes(body)
