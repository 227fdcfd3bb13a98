"""One call to an OpenAI-compatible server over HTTP.

aiohttp is used without the data models of a client library, which would take half of a call's CPU time. Nothing is
retried here, except at once where the server only rejected a parameter.
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
    is_too_high,
    rejected_parameter,
    without_parameter,
)
from distillery_trainer.data.rows import Message

_CONNECTION_FAILED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)
_MAX_CONNECT_SECONDS = 30.0
_KEEP_ALIVE_SECONDS = 4.0
"""vLLM closes connections that were idle for 5 seconds, and a call sent at that moment is lost."""
_MAX_BODY_BYTES = 64 * 1024 * 1024
_OTHER_FILES = 128
"""Open files other than connections: libraries, outputs, segments of the journal."""


def connections_allowed(wanted: int) -> int:
    """How many connections this process may open, at most `wanted`. Raises the limit on open files where it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))


def proxy_for(url: str) -> str | None:
    """The proxy for a URL, from the environment (HTTPS_PROXY, NO_PROXY and so on)."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


class Endpoint:
    """A model at one base URL. Remembers which parameters the server does not accept."""

    def __init__(
        self,
        url: str,
        model_id: str,
        api_key: str | None,
        parameters: Mapping[str, Any],
        *,
        connections: int,
        timeout: float,
    ) -> None:
        self._url = url.rstrip("/") + "/chat/completions"
        self._model_id, self._api_key, self._timeout = model_id, api_key, timeout
        self.parameters = dict(parameters)
        self._format_watch = FormatWatch()
        self._connections = connections
        self.on_allowances: Callable[[dict[str, Allowance]], object] = lambda _: None
        """Called with what the server still allows the API key, where it says so."""
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, messages: list[Message], temperature: float | None = None) -> Reply:
        """Send a request, at the default temperature or this one; again, at once, where the server only rejected a
        parameter. Raises CallError.

        The timeout is for the whole call: a body that trickles in would never exceed one for each read.
        """
        while True:
            accepted = self.parameters
            sent = accepted
            if temperature is not None and "temperature" in accepted:
                sent = accepted | {"temperature": temperature}
            try:
                async with asyncio.timeout(self._timeout):
                    response = await self._post(sent, messages)
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise self._broken_call(error) from error
            if isinstance(response, Reply):
                self._check_format(accepted, response)
                return response
            self._drop_rejected(response, accepted)

    async def _post(self, parameters: Mapping[str, Any], messages: list[Message]) -> Reply | ErrorResponse:
        body = orjson.dumps({"model": self._model_id, **parameters, "messages": messages})
        started = time.perf_counter()
        async with self._open_session().post(self._url, data=body, allow_redirects=False) as response:
            content = await _read_body(response)
            seconds, headers = time.perf_counter() - started, response.headers
            if "x-ratelimit-remaining-requests" in headers or "anthropic-ratelimit-requests-remaining" in headers:
                self.on_allowances(allowances(headers, datetime.now(UTC)))
            if response.status != 200:
                return ErrorResponse(response.status, self._without_api_key(content), headers)
        request_id = headers.get("x-request-id")
        return read_completion(self._without_api_key(content), seconds, request_id, self._model_id, headers)

    def _open_session(self) -> aiohttp.ClientSession:
        """The session, created on first use because it needs a running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEP_ALIVE_SECONDS),
                headers={"Content-Type": "application/json", "User-Agent": "distillery"}
                | ({"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}),
                timeout=aiohttp.ClientTimeout(sock_connect=min(_MAX_CONNECT_SECONDS, self._timeout)),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=proxy_for(self._url),
            )
        return self._session

    # --- learning which parameters the server accepts

    def _drop_rejected(self, response: ErrorResponse, sent: Mapping[str, Any]) -> None:
        """Omit a rejected parameter from now on. Raises CallError where a parameter is not the reason."""
        error = call_error(response, datetime.now(UTC))
        parameter = rejected_parameter(response, sent)
        if parameter is None or error.reason in (RejectionReason.CONTENT_FILTER, RejectionReason.CONTEXT_TOO_LONG):
            raise error
        if parameter in OUTPUT_LIMITS and is_too_high(response):
            raise CallError(RejectionReason.OUTPUT_LIMIT, error.message, FailureScope.SERVER)
        self._drop(parameter, sent)

    def _check_format(self, sent: Mapping[str, Any], reply: Reply) -> None:
        if "response_format" in sent and reply.finish_reason == "stop" and self._format_watch.ignores(reply.content):
            self._drop("response_format", sent)

    def _drop(self, parameter: str, sent: Mapping[str, Any]) -> None:
        """Omit a parameter from now on, unless another call has replaced it already."""
        if self.parameters.get(parameter) == sent[parameter]:
            self.parameters = without_parameter(self.parameters, parameter)

    # --- failures

    def _without_api_key(self, body: bytes) -> bytes:
        """A response body without the API key, in case the server repeats it."""
        return body.replace(self._api_key.encode(), b"***") if self._api_key else body

    def _broken_call(self, error: Exception) -> CallError:
        """The error of a call without a complete HTTP response."""
        if isinstance(error, _CONNECTION_FAILED):
            return CallError(
                RejectionReason.UNREACHABLE,
                f"Connection failed: {error}.",
                FailureScope.TRANSIENT,
                answered=False,
                connected=False,
            )
        if isinstance(error, aiohttp.InvalidURL):
            return CallError(RejectionReason.BAD_URL, f"Invalid URL: {error}.", FailureScope.SERVER, answered=False)
        if isinstance(error, TimeoutError):
            message = f"No complete reply within {self._timeout:g} seconds (generation.requestTimeoutSeconds)."
            return CallError(
                RejectionReason.TIMEOUT, message, FailureScope.TRANSIENT, answered=False, costs_nothing=False
            )
        message = "The connection was closed before the reply was complete."
        return CallError(
            RejectionReason.CONNECTION_CLOSED, message, FailureScope.TRANSIENT, answered=False, costs_nothing=False
        )


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises aiohttp.ClientPayloadError where it is too long for a reply."""
    if (response.content_length or 0) > _MAX_BODY_BYTES:
        raise aiohttp.ClientPayloadError("the body is too long")
    if response.content_length is not None:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise aiohttp.ClientPayloadError("the body is too long")
    return bytes(body)
