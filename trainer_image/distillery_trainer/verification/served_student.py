"""Asks the student through its own HTTP server, as a user does: no sampling parameters, since the server's own are
what is verified."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_trainer.chat.sent_calls import calls_as_text
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import chat_fields
from distillery_trainer.runtime.errors import TryLater, UserError

REQUEST_SECONDS = 300.0
"""How long a reply may take."""
PATIENCE_SECONDS = 60.0
"""How long a server may fail to answer before the stage gives up for now."""
RETRY_SECONDS = 2.0
_BODY_LIMIT = 4 * 1024 * 1024
_SERVER_ERROR = 500
_TRANSIENT = (408, 425, 429)
"""Besides server errors, the HTTP statuses that the same request may not meet again."""
_KEY_REFUSED = (401, 403)
_KEY_MESSAGE = (
    "The student's server at {url} refuses the API key of serving.apiKey (HTTP {status}). Restart the server after a"
    " change of the Secret (annotation distillery.dev/restart-at), and store the key without a line break at its end."
)

# A proxy of the environment leads out of the cluster, where nobody knows the server.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class ServedReply:
    """What the server sent back for one request."""

    text: str | None
    """The reply; None where there is none."""
    problem: str = ""
    """Why there is no reply, such as `HTTP 400: …`."""
    seconds: float = 0.0
    """Latency of the request."""
    output_tokens: int | None = None
    """Length of the reply, as the server counts it."""


class NoAnswer(Exception):
    """The server cannot be reached, or is not able to answer now."""


@dataclass(frozen=True)
class ServedStudent:
    """The student behind an OpenAI-compatible server."""

    url: str
    """Base URL, with `/v1`."""
    model: str
    """What the server calls the student."""
    max_tokens: int
    """Maximum length of a reply, in tokens."""
    api_key: str | None = None
    """What its clients must show; None where it needs no key."""
    patience_seconds: float = PATIENCE_SECONDS
    retry_seconds: float = RETRY_SECONDS
    request_seconds: float = REQUEST_SECONDS
    picture_url: Callable[[str], str] = str
    """The URL of a row's picture by its name."""

    def ask(self, messages: Sequence[Message]) -> ServedReply:
        """The reply to `messages`. Raises TryLater where the server does not answer for `patience_seconds`, UserError
        where it refuses the key."""
        request = {"model": self.model, **chat_fields(messages, self.picture_url)}
        reply = self._patiently({**request, "max_tokens": self.max_tokens})
        # A maximum that exceeds the server's context together with the prompt may be refused; without one, it takes
        # what is left.
        return self._patiently(request) if reply.problem.startswith("HTTP 400") else reply

    def adapter(self) -> str | None:
        """The folder of the adapter that the student is served with, as its server calls it; None where it has not
        loaded one. Raises NoAnswer where the server does not say, UserError where it refuses the key."""
        status, body = self._send("models", None)
        self._check_key(status)
        if status != http.client.OK:
            raise NoAnswer(f"HTTP {status}: {_error_text(body)}")
        return _root_of(self.model, body)

    def _patiently(self, request: dict[str, Any]) -> ServedReply:
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return self._reply(request)
            except NoAnswer as problem:
                if time.monotonic() > deadline:
                    message = f"The student's server at {self.url} does not answer: {problem}"
                    raise TryLater(message, reason=Reason.VERIFICATION_FAILED) from problem
            time.sleep(self.retry_seconds)

    def _reply(self, request: dict[str, Any]) -> ServedReply:
        started = time.perf_counter()
        status, body = self._send("chat/completions", orjson.dumps(request))
        seconds = time.perf_counter() - started
        if status >= _SERVER_ERROR or status in _TRANSIENT:
            raise NoAnswer(f"HTTP {status}: {_error_text(body)}")
        self._check_key(status)
        if status != http.client.OK:
            return ServedReply(None, f"HTTP {status}: {_error_text(body)}")
        text = _content(body)
        return ServedReply(text, "" if text is not None else "no chat completion", seconds, _output_tokens(body))

    def _check_key(self, status: int) -> None:
        if status in _KEY_REFUSED:
            raise UserError(_KEY_MESSAGE.format(url=self.url, status=status), reason=Reason.VERIFICATION_FAILED)

    def _send(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """The status and the body of the response. Raises NoAnswer."""
        url = f"{self.url}/{path}"
        headers = {"content-type": "application/json"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own server
        try:
            with _OPENER.open(request, timeout=self.request_seconds) as response:
                return response.status, _read(response, self.request_seconds)
        except urllib.error.HTTPError as error:
            return error.code, error.read(_BODY_LIMIT)
        except TimeoutError:
            raise NoAnswer(f"no reply within {self.request_seconds:g} s") from None
        except urllib.error.URLError as error:
            raise NoAnswer(str(error.reason)) from error
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"the connection failed ({type(error).__name__}: {error})") from error


def _read(response: http.client.HTTPResponse, seconds: float) -> bytes:
    """The body of a response, up to a limit. Raises TimeoutError where it comes too slowly, IncompleteRead where it
    ends too early."""
    deadline, body = time.monotonic() + seconds, bytearray()
    while len(body) < _BODY_LIMIT and (part := response.read1(_BODY_LIMIT - len(body))):
        body += part
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length and len(body) < _BODY_LIMIT:
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _root_of(model: str, body: bytes) -> str | None:
    """Where the files of a model lie, in a server's list of them."""
    try:
        roots = [each.get("root") for each in orjson.loads(body)["data"] if each["id"] == model]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoAnswer(f"no list of models ({type(error).__name__}: {error})") from error
    return next((root for root in roots if isinstance(root, str)), None)


def _content(body: bytes) -> str | None:
    """The reply's text in a chat completion: its calls, or its content."""
    try:
        message = orjson.loads(body)["choices"][0]["message"]
        content = calls_as_text(message) or message.get("content")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return content if isinstance(content, str) else "" if content is None else None


def _output_tokens(body: bytes) -> int | None:
    """The number of tokens that a chat completion reports."""
    try:
        tokens = orjson.loads(body)["usage"]["completion_tokens"]
    except (ValueError, LookupError, TypeError):
        return None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def _error_text(body: bytes) -> str:
    """The words of an error response."""
    try:
        error = orjson.loads(body)
        text = error["error"]["message"] if "error" in error else error["message"]
    except (ValueError, LookupError, TypeError):
        text = body.decode(errors="replace")
    return cleaned(str(text), 200)
