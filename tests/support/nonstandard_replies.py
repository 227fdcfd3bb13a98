"""What servers send that stray from the protocol, as faults for the test teacher."""

from __future__ import annotations

import json
import zlib
from typing import Any

from chat_faults import Fault
from chat_protocol import Refusal, refusal

JSON = {"Content-Type": "application/json"}
MESSAGE_FIELDS = ("content", "reasoning_content", "reasoning", "refusal")
CHOICE_FIELDS = ("finish_reason", "message")


def sent(name: str, body: Any, headers: dict[str, str] = JSON, status: int = 200) -> Fault:
    """Exactly this response; a body that is neither text nor bytes is sent as JSON."""
    written = body if isinstance(body, str | bytes) else json.dumps(body)
    return Fault(name, refused=Refusal(status, written, headers))


def completion(content: str, **more: Any) -> dict[str, Any]:
    """A whole completion."""
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
    return {"id": "c-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage, **more}


def changed(name: str, content: str = "contradiction", headers: dict[str, str] | None = None, **more: Any) -> Fault:
    """A completion with other headers and fields; those named as fields of its choice or of its message are changed
    there."""
    body = completion(content)
    choice = body["choices"][0]
    for field, value in more.items():
        owner = choice["message"] if field in MESSAGE_FIELDS else choice if field in CHOICE_FIELDS else body
        owner[field] = value
    return sent(name, body, JSON | (headers or {}))


def error_as_200(message: str = "The model is overloaded.", code: int | str = 503) -> Fault:
    """200 with an error object."""
    return sent("error_as_200", {"error": {"message": message, "code": code}}, JSON)


def other_model(name: str) -> Fault:
    """A good reply under another model's name."""
    return sent("other_model", completion("neutral", model=name), JSON)


def streamed(*pieces: str, ends: bool = True) -> Fault:
    """A stream of pieces, although nobody asked for one; without an end where it breaks off."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    if ends:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = [f"data: {json.dumps(chunk)}" for chunk in chunks] + (["data: [DONE]"] if ends else [])
    return sent("streamed", "\n\n".join(lines) + "\n\n", {"Content-Type": "text/event-stream"})


def used_up(reset: str) -> Fault:
    """A good reply that says that the key may do nothing more until `reset` has passed."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    return sent("used_up", completion("neutral"), JSON | headers)


def moved(address: str) -> Fault:
    """A redirection."""
    return sent("moved", "", {"Location": address, "Content-Type": "text/html"}, 308)


def limit_too_high() -> Fault:
    """A model whose replies may not be as long as was asked for."""
    words = "max_tokens is too large: 128. This model supports at most 64 completion tokens."
    return Fault("limit_too_high", refused=refusal(400, words, "invalid_value", kind="invalid_request_error"))


def bomb(megabytes: int) -> bytes:
    """A completion that gzip packed to a thousandth: it holds as many megabytes of blanks."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = [packer.compress(b'{"x": "')] + [packer.compress(b" " * 1024 * 1024) for _ in range(megabytes)]
    rest = b'", ' + json.dumps(completion("neutral")).encode()[1:]
    return b"".join([*packed, packer.compress(rest), packer.flush()])
