"""One call to an OpenAI-compatible server over HTTP.

aiohttp is used without the data models of a client library, which would take half of a call's CPU time. Nothing is
retried here, except at once where the server only rejected a parameter.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.runtime.proxies import Proxy, proxy_for
from distillery_trainer.chat.api_key import KeyRemoval
from distillery_trainer.chat.broken_calls import broken_call, proxy_advice, unusable_proxy
from distillery_trainer.chat.completions import read_completion
from distillery_trainer.chat.error_responses import CallError, ErrorResponse, FailureScope, call_error
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.request_parameters import (
    ASK_FOR_LOGPROBS,
    OUTPUT_LIMITS,
    SCORE_PROMPT,
    FormatWatch,
    is_too_high,
    output_limit,
    rejected_parameter,
    without_parameter,
)
from distillery_trainer.chat.request_target import RequestTarget
from distillery_trainer.chat.response_bodies import BodyReader, BodyTooLong
from distillery_trainer.chat.response_headers import Allowance, ResponseHeaders
from distillery_trainer.chat.system_messages import rejects_system_message, with_system_in_first_user_turn
from distillery_trainer.data.finish_reasons import is_complete
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import chat_fields, tools_of

_MAX_CONNECT_SECONDS = 30.0
_KEEP_ALIVE_SECONDS = 4.0
"""vLLM closes connections that were idle for 5 seconds, and a call sent at that moment is lost."""
_MAX_HEADER_BYTES = 16 * 1024
_REASONS_OF_A_ROW = (RejectionReason.CONTENT_FILTER, RejectionReason.CONTEXT_TOO_LONG)
"""They say nothing about other rows, whatever else the message mentions."""
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


class Endpoint:
    """A model at one base URL. Remembers what the server does not accept: parameters, and a system message."""

    def __init__(
        self,
        target: RequestTarget,
        model_id: str,
        parameters: Mapping[str, Any],
        *,
        connections: int,
        timeout: float,
        picture_url: Callable[[str], str],
    ) -> None:
        """`picture_url` gives the URL of a message's picture by its name."""
        self._picture_url = picture_url
        self._target, self._model_id, self._timeout = target, model_id, timeout
        # The URL is sent as it was made: escaping it again would change the values of parameters.
        self._url = URL(target.url, encoded=True)
        self._without_key = KeyRemoval(*target.secrets)
        self._proxy: Proxy | None = proxy_for(target.shown_url)
        self.parameters = dict(parameters)
        self.accepts_system_messages = True
        """False once the server has rejected a system message and answered its text in the first user message."""
        self._has_answered = self._has_answered_system_message = False
        self._format_watch = FormatWatch()
        self._reads_logprobs = any(name in parameters for name in ASK_FOR_LOGPROBS)
        self._bodies = BodyReader(None if self._reads_logprobs else output_limit(parameters))
        self._connections = connections
        self.on_resend: Callable[[CallError], object] = lambda _: None
        """Called with the error of a request that is sent again at once without what the server rejected."""
        self.on_allowances: Callable[[Mapping[str, Allowance]], object] = lambda _: None
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
        if self._proxy and not self._proxy.is_usable:
            raise unusable_proxy(self._proxy)
        folds = not self.accepts_system_messages
        while True:
            accepted = self.parameters
            sent = accepted
            if temperature is not None and "temperature" in accepted:
                sent = accepted | {"temperature": temperature}
            turns = with_system_in_first_user_turn(messages) if folds else messages
            response = await self._post(sent, turns)
            if isinstance(response, Reply):
                self._note_system_message(messages, turns)
                self._check_format(accepted, response)
                return response
            folds = self._adapt_to(response, accepted, turns) or folds

    async def _post(self, parameters: Mapping[str, Any], messages: list[Message]) -> Reply | ErrorResponse:
        body = orjson.dumps({"model": self._model_id, **parameters, **chat_fields(messages, self._picture_url)})
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                status, raw_headers, content = await self._fetch(body)
        except (TimeoutError, BodyTooLong, aiohttp.ClientError, OSError, ValueError) as error:
            raise broken_call(error, self._timeout, self._proxy, has_answered=self._has_answered) from error
        self._has_answered = True
        seconds = time.perf_counter() - started
        headers = ResponseHeaders.read(raw_headers, self._target.shown_url, datetime.now(UTC), self._without_key)
        if headers.allowances:
            self.on_allowances(headers.allowances)
        if not _is_success(status):
            return ErrorResponse.read(status, content, headers, self._without_key)
        return read_completion(
            content,
            seconds,
            headers,
            model_id=self._model_id,
            without_key=self._without_key,
            reads_calls=bool(tools_of(messages)),
            reads_logprobs=self._reads_logprobs,
            scored_text=messages[-1]["content"] if SCORE_PROMPT in parameters else None,
        )

    async def _fetch(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """The status, headers and body of the response; of an error's body the beginning."""
        async with self._open_session().post(self._url, data=body, allow_redirects=False) as response:
            try:
                read = self._bodies.read if _is_success(response.status) else self._bodies.read_beginning
                return response.status, response.headers, await read(response)
            finally:
                if not response.content.at_eof():
                    response.close()  # without it, the rest would be unpacked as well

    def _open_session(self) -> aiohttp.ClientSession:
        """The session, created on first use because it needs a running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEP_ALIVE_SECONDS),
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(sock_connect=min(_MAX_CONNECT_SECONDS, self._timeout)),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=self._proxy.url if self._proxy else None,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )
        return self._session

    def _headers(self) -> CIMultiDict[str]:
        headers = CIMultiDict({"Content-Type": "application/json", "User-Agent": "distillery"})
        headers.update(self._target.headers)
        return headers

    # --- learning what the server accepts

    def _adapt_to(self, response: ErrorResponse, sent: Mapping[str, Any], turns: list[Message]) -> bool:
        """Omit a rejected parameter from now on. Returns whether to send the request again without its system message.

        Raises CallError where the request as such failed.
        """
        error = self._call_error(response)
        folds = self._is_about_system_message(response, error, sent, turns)
        if not folds:
            self._drop_rejected(response, error, sent)
        self.on_resend(error)
        return folds

    def _is_about_system_message(
        self, response: ErrorResponse, error: CallError, sent: Mapping[str, Any], turns: list[Message]
    ) -> bool:
        """Whether the system message may be the reason, and nothing else is."""
        return (
            not self._has_answered_system_message
            and with_system_in_first_user_turn(turns) != turns
            and error.reason not in _REASONS_OF_A_ROW
            and rejected_parameter(response, sent) is None
            and rejects_system_message(response)
        )

    def _note_system_message(self, messages: list[Message], turns: list[Message]) -> None:
        """Remember, from a reply, whether the server accepts a system message: one reply to it shows that for good."""
        self._has_answered_system_message |= turns[0]["role"] == "system"
        if messages[0]["role"] == "system":
            self.accepts_system_messages = self._has_answered_system_message

    def _call_error(self, response: ErrorResponse) -> CallError:
        error = call_error(response)
        if self._proxy and (response.status == 407 or response.is_page):
            error.message = f"{error.message.rstrip('.')}. The request went through the proxy {self._proxy}."
            error.advice = proxy_advice(response.status, self._proxy) if response.status in (403, 407) else None
            error.scope = FailureScope.SERVER if response.status == 407 else error.scope
        return error

    def _drop_rejected(self, response: ErrorResponse, error: CallError, sent: Mapping[str, Any]) -> None:
        """Omit a rejected parameter from now on. Raises CallError where a parameter is not the reason."""
        parameter = rejected_parameter(response, sent)
        if parameter is None or error.reason in _REASONS_OF_A_ROW:
            raise error
        if parameter in OUTPUT_LIMITS and is_too_high(response):
            raise CallError(RejectionReason.OUTPUT_LIMIT, error.message, FailureScope.SERVER)
        self._drop(parameter, sent)

    def _check_format(self, sent: Mapping[str, Any], reply: Reply) -> None:
        if "response_format" in sent and is_complete(reply.finish_reason) and self._format_watch.ignores(reply.content):
            self._drop("response_format", sent)

    def _drop(self, parameter: str, sent: Mapping[str, Any]) -> None:
        """Omit a parameter from now on, unless another call has replaced it already."""
        if self.parameters.get(parameter) == sent[parameter]:
            self.parameters = without_parameter(self.parameters, parameter)


def _is_success(status: int) -> bool:
    return 200 <= status < 300
