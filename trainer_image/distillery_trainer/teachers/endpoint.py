"""One call to an OpenAI-compatible server, and what its failures mean.

The `openai` client over aiohttp does the HTTP; its own retries are off, since they would hide what the server asks for.
The request's body is written, and the reply's read, without the client's models: that is half of a call's CPU time.
"""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from distillery_api.result import shortened
from distillery_api.spec import Generation
from distillery_trainer.records import Message
from distillery_trainer.teachers.journal import Reply

_PARAMETERS = (
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "response_format",
)
_CONTENT_FILTER = re.compile(r"content[\s_-]*(?:filter|management|policy)|responsible\s*ai|moderation", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[\s_-]*(?:length|window|size)|prompt is too long|input is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"\A\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)
_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)
_MESSAGE_LIMIT = 300
_OTHER_FILES = 128
"""Open files beside connections: libraries, outputs, segments of the journal."""


class Verdict(Enum):
    """What a failed call means."""

    AGAIN = "the same call may succeed in a moment"
    ROW = "this row will not get a reply"
    TEACHER = "no row will get a reply until the user changes something"


class CallError(Exception):
    """A call without a reply. The message is a sentence for people, without the key."""

    def __init__(
        self,
        reason: str,
        message: str,
        verdict: Verdict,
        *,
        answered: bool = True,
        costs_nothing: bool = True,
        connected: bool = True,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason, self.message, self.verdict = reason, message, verdict
        self.answered, self.costs_nothing, self.connected = answered, costs_nothing, connected
        self.retry_after, self.request_id = retry_after, request_id


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer that is no completion."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> dict[str, Any]:
        """The protocol's error object, or what comes nearest; {} for a page."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        error = body.get("error", body) if isinstance(body, dict) else body
        return error if isinstance(error, dict) else {"message": str(error)}

    @property
    def code(self) -> str:
        """The error's code and type, for comparison."""
        return f"{self.error.get('code')} {self.error.get('type')}"

    @property
    def text(self) -> str:
        """The server's own words, cut to a readable length."""
        error = self.error
        words = error.get("message") or error.get("detail") or ("" if error else "a page in place of JSON")
        return shortened(" ".join(str(words).split()), _MESSAGE_LIMIT)


# --- what a refusal means


def judge_refusal(refusal: Refusal, now: datetime) -> CallError:
    """The error that an HTTP answer stands for."""
    reason, verdict = _reason_and_verdict(refusal)
    said = f"HTTP {refusal.status}" + (f": {refusal.text}" if refusal.text else "")
    return CallError(
        reason,
        said,
        verdict,
        retry_after=retry_after(refusal.headers, now),
        request_id=refusal.headers.get("x-request-id"),
    )


def _reason_and_verdict(refusal: Refusal) -> tuple[str, Verdict]:
    status, words = refusal.status, f"{refusal.code} {refusal.text}"
    if status in (400, 403, 422) and _CONTENT_FILTER.search(words):
        return "content_filter", Verdict.ROW
    if status in (400, 413, 422) and _TOO_LONG.search(words):
        return "context_too_long", Verdict.ROW
    if "insufficient_quota" in words or status in (401, 402, 403, 404, 405):
        return f"http_{status}", Verdict.TEACHER
    if status in (408, 409, 425, 429) or status >= 500:
        return f"http_{status}", Verdict.AGAIN
    return f"http_{status}", Verdict.ROW


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait, given as seconds or as an HTTP date; None where it does not ask."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def refused_parameter(refusal: Refusal, sent: Mapping[str, Any]) -> str | None:
    """The sampling parameter that a 400 or 422 complains about, if it was sent."""
    if refusal.status not in (400, 422):
        return None
    named = refusal.error.get("param")
    if isinstance(named, str) and (parameter := named.partition(".")[0]) in sent and parameter in _PARAMETERS:
        return parameter
    known = [name for name in _PARAMETERS if name in sent]
    return next((name for name in known if re.search(rf"\b{name}\b", refusal.text)), None)


def without_parameter(sent: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """The parameters without one that the server refused; `max_tokens` goes by its newer name instead."""
    kept = {name: value for name, value in sent.items() if name != parameter}
    if parameter == "max_tokens":
        kept["max_completion_tokens"] = sent["max_tokens"]
    return kept


# --- reading a completion


def read_completion(body: bytes, latency_seconds: float, request_id: str | None) -> Reply:
    """The reply in a completion's body. Raises CallError where it is none."""
    try:
        completion = orjson.loads(body)
        choice = completion["choices"][0]
        message = choice["message"]
        usage = completion.get("usage") or {}
        thought, content = split_thought(_text(message.get("content")))
        return Reply(
            content=content,
            finish_reason=choice.get("finish_reason"),
            reasoning=message.get("reasoning_content") or message.get("reasoning") or thought,
            refusal=message.get("refusal"),
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
            latency_seconds=round(latency_seconds, 4),
            request_id=request_id or completion.get("id"),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        problem = "The server answered 200 with something that is no completion."
        raise CallError("bad_response", problem, Verdict.AGAIN, costs_nothing=False, request_id=request_id) from error


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def split_thought(content: str) -> tuple[str | None, str]:
    """The `<think>…</think>` at the start of a reply, and the rest. One without an end takes everything."""
    if "think>" not in content:
        return None, content
    if match := _THOUGHT.match(content):
        return match[1].strip(), content[match.end() :]
    if content.lstrip().startswith("<think>"):
        return content.lstrip().removeprefix("<think>").strip(), ""
    return None, content


# --- calling


def sampling_parameters(generation: Generation, max_tokens: int, schema: dict[str, Any] | None) -> dict[str, Any]:
    """The request's parameters, without those that have their neutral value; the temperature always stands there."""
    sampling = generation.sampling
    top_p = generation.top_p_by_default if sampling.top_p is None else sampling.top_p
    temperature = generation.temperature_by_default if sampling.temperature is None else sampling.temperature
    chosen = {
        "top_p": (top_p, 1),
        "frequency_penalty": (sampling.frequency_penalty, 0),
        "presence_penalty": (sampling.presence_penalty, 0),
        "stop": (sampling.stop, None),
    }
    parameters: dict[str, Any] = {name: value for name, (value, neutral) in chosen.items() if value != neutral}
    parameters |= {"temperature": temperature, "max_tokens": max_tokens}
    if schema is not None:
        parameters["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": schema},
        }
    return parameters


def connections_allowed(wanted: int) -> int:
    """How many connections this process may hold, raising its limit of open files where it may; `wanted` at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))


class Endpoint:
    """A model behind a base URL. Remembers which parameters the server does not take."""

    def __init__(
        self, url: str, model: str, key: str | None, parameters: Mapping[str, Any], *, connections: int, timeout: float
    ) -> None:
        self._model, self._key, self._timeout = model, key, timeout
        self.parameters = dict(parameters)
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(limits=limits, timeout=timeout),
        )
        # The client would send what stands in OPENAI_* variables of this machine to any server.
        unsent = ["OpenAI-Organization", "OpenAI-Project", *([] if key else ["Authorization"])]
        self._headers: dict[str, str | openai.Omit] = {
            "Content-Type": "application/json",
            **dict.fromkeys(unsent, openai.omit),
        }

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def call(self, messages: list[Message]) -> Reply:
        """Ask once; again, at once, where only a parameter was refused. Raises CallError.

        The time-out is around the whole call, since the client's own is around single reads, which a body that
        trickles in never exceeds.
        """
        while True:
            sent = self.parameters
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._post(sent, messages)
            except openai.APIStatusError as error:
                refusal = Refusal(error.status_code, self._without_key(error.response.content), error.response.headers)
                parameter = refused_parameter(refusal, sent)
                failure = judge_refusal(refusal, datetime.now(UTC))
                if parameter is None or failure.reason in ("content_filter", "context_too_long"):
                    raise failure from error
                self._forget(parameter)
            except (TimeoutError, openai.APIConnectionError) as error:
                raise self._broken_call(error) from error

    async def _post(self, parameters: Mapping[str, Any], messages: list[Message]) -> Reply:
        body = orjson.dumps({"model": self._model, **parameters, "messages": messages})
        started = time.perf_counter()
        response = await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            content=body,
            options={"headers": self._headers},
        )
        return read_completion(response.content, time.perf_counter() - started, response.headers.get("x-request-id"))

    def _forget(self, parameter: str) -> None:
        """Leave a refused parameter out from now on; another call may have done so already."""
        if parameter in self.parameters:
            self.parameters = without_parameter(self.parameters, parameter)

    def _without_key(self, body: bytes) -> bytes:
        """What the server said, in case it repeats the key."""
        return body.replace(self._key.encode(), b"***") if self._key else body

    def _broken_call(self, error: Exception) -> CallError:
        """The error of a call that got no HTTP answer, or half of one."""
        cause = _root(error)
        if isinstance(cause, _NEVER_CONNECTED):
            return CallError("unreachable", f"No connection: {cause}.", Verdict.AGAIN, answered=False, connected=False)
        if isinstance(cause, TimeoutError):
            problem = f"No whole reply within {self._timeout:g} seconds."
            return CallError("timeout", problem, Verdict.AGAIN, answered=False, costs_nothing=False)
        problem = "The connection was closed before the whole reply was there."
        return CallError("connection_closed", problem, Verdict.AGAIN, answered=False, costs_nothing=False)


def _root(error: BaseException) -> BaseException:
    """The first cause of a chain that is aiohttp's or the system's, else the last one."""
    while not isinstance(error, aiohttp.ClientError | OSError) and (cause := error.__cause__ or error.__context__):
        error = cause
    return error
