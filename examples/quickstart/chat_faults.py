"""The ways in which a teacher fails, as values that a server can simulate.

    faults=lambda call: rate_limited(2) if call.attempt == 0 else None

is a server that rejects every request once. Each function here makes one fault; a schedule chooses among them.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from chat_protocol import Answer, Call, Completion, Refusal, cut, refusal, tokens_of


class Delivery(StrEnum):
    """How the bytes of a reply are sent."""

    WHOLE = "whole"
    BROKEN_OFF = "broken off"
    TRICKLED = "trickled"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Fault:
    """A fault of one reply. The server's statistics count it by its name."""

    name: str
    delay: float = 0.0
    """Delay of the reply in seconds, in addition to the server's latency."""
    refused: Refusal | None = None
    """Sent instead of a completion."""
    answer: Callable[[Answer], Answer] = lambda answer: answer
    """Changes the teacher's answer."""
    change: Callable[[Completion], Completion] = lambda completion: completion
    """Changes the written reply."""
    delivery: Delivery = Delivery.WHOLE


FaultSchedule = Callable[[Call], Fault | None]
"""A call -> its fault, or None."""


def no_faults(_: Call) -> None:
    """The schedule of a server that never fails."""


def script(faults: Iterable[Fault | None]) -> FaultSchedule:
    """The faults in order, one per call; none after the last."""
    remaining = iter(faults)
    return lambda _: next(remaining, None)


def where(text: str, fault: Fault, *, times: int | None = None) -> FaultSchedule:
    """The fault for requests that contain `text`: for their first `times` attempts, or for all if None."""
    return lambda call: fault if text in call.text and (times is None or call.attempt < times) else None


def first_of(*schedules: FaultSchedule) -> FaultSchedule:
    """The first fault that any of the schedules returns."""
    return lambda call: next((fault for schedule in schedules if (fault := schedule(call))), None)


# --- refusals


def rate_limited(retry_after: float | str | None = 1) -> Fault:
    """429 with `Retry-After`: seconds, or a date in HTTP's format; without the header if None."""
    body = refusal(429, "Rate limit reached for requests.", "rate_limit_exceeded", kind="requests")
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault("rate_limited", refused=replace(body, headers=headers))


def insufficient_quota() -> Fault:
    """429 that waiting does not resolve: the account has no credit left."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return Fault("insufficient_quota", refused=refusal(429, message, "insufficient_quota", kind="insufficient_quota"))


def server_error(status: int = 500) -> Fault:
    """An internal server error."""
    message = "The server had an error while processing your request."
    return Fault("server_error", refused=refusal(status, message, "internal_error", kind="server_error"))


def html_page(status: int = 502) -> Fault:
    """The HTML page of a proxy instead of JSON."""
    page = "<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
    return Fault("html_page", refused=Refusal(status, page, {"Content-Type": "text/html"}))


def wrong_key() -> Fault:
    """401."""
    return Fault("wrong_key", refused=refusal(401, "Incorrect API key provided.", "invalid_api_key"))


def unknown_model() -> Fault:
    """404 for the model."""
    return Fault("unknown_model", refused=refusal(404, "The model does not exist.", "model_not_found", param="model"))


def context_too_long() -> Fault:
    """400 because the prompt exceeds the context window."""
    message = "This model's maximum context length is 8192 tokens, but you asked for 9000 tokens."
    return Fault("context_too_long", refused=refusal(400, message, "context_length_exceeded", param="messages"))


def content_refused() -> Fault:
    """400 from a content filter that blocked the prompt."""
    message = "The response was filtered due to the prompt triggering the content management policy."
    return Fault("content_refused", refused=refusal(400, message, "content_filter", param="prompt"))


# --- faulty replies


def slow(seconds: float) -> Fault:
    """A correct reply, after a delay."""
    return Fault("slow", delay=seconds)


def cut_off() -> Fault:
    """Half a reply, with `finish_reason` "length"."""
    return Fault("cut_off", change=lambda whole: cut(whole, len(tokens_of(whole.content or "")) // 2))


def content_filtered() -> Fault:
    """An empty reply with `finish_reason` "content_filter"."""
    return _rewritten("content_filtered", lambda whole: replace(whole, content="", finish_reason="content_filter"))


def malformed_json() -> Fault:
    """A reply that is not valid JSON: the closing brace is missing."""
    return _rewritten("malformed_json", lambda whole: replace(whole, content='{"reason": ' + _halved(whole.content)))


def empty() -> Fault:
    """An empty reply with `finish_reason` "stop"."""
    return _rewritten("empty", lambda whole: replace(whole, content=""))


def fenced() -> Fault:
    """The reply in a code fence."""
    return _rewritten("fenced", lambda whole: replace(whole, content=f"```json\n{whole.content}\n```"))


def chatty(before: str = "Sure! Here is my answer: ", after: str = "\nI hope this helps.") -> Fault:
    """The reply with other text around it."""
    return _rewritten("chatty", lambda whole: replace(whole, content=f"{before}{whole.content}{after}"))


def verbatim(content: str | None) -> Fault:
    """Exactly this content."""
    return _rewritten("verbatim", lambda whole: replace(whole, content=content))


def labelled(label: str) -> Fault:
    """Exactly this label, which may be wrong or not allowed."""
    return Fault("labelled", answer=lambda answer: replace(answer, label=label))


def declined(refusal_text: str = "I cannot help with that.") -> Fault:
    """No content, and the model's refusal in a separate field."""
    return _rewritten("declined", lambda whole: replace(whole, content=None, refusal=refusal_text))


def without_usage() -> Fault:
    """`usage` is null."""
    return _rewritten("without_usage", lambda whole: replace(whole, with_usage=False))


def reasoning_content(reasoning: str) -> Fault:
    """The reasoning in a separate field."""
    return _rewritten("reasoning_content", lambda whole: replace(whole, reasoning=reasoning))


def think_span(reasoning: str) -> Fault:
    """The reasoning before the reply, as `<think>…</think>`."""
    return _rewritten(
        "think_span", lambda whole: replace(whole, content=f"<think>{reasoning}</think>\n{whole.content}")
    )


def closed_connection() -> Fault:
    """The connection is closed in the middle of the body."""
    return Fault("closed_connection", delivery=Delivery.BROKEN_OFF)


def dropped_connection() -> Fault:
    """The connection is closed before the first byte."""
    return Fault("dropped_connection", delivery=Delivery.DROPPED)


def trickling() -> Fault:
    """A body that arrives byte by byte, too slowly to ever end."""
    return Fault("trickling", delivery=Delivery.TRICKLED)


def _rewritten(name: str, change: Callable[[Completion], Completion]) -> Fault:
    return Fault(name, change=change)


def _halved(content: str | None) -> str:
    text = json.dumps(content or "")
    return text[: max(1, len(text) // 2)]
