"""The ways in which a teacher fails, each as a value that a server can be told to act out.

    faults=lambda call: rate_limited(2) if call.attempt == 0 else None

is a server that turns every request away once. Every constructor here is one fault; a schedule chooses among them.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from chat_protocol import Answer, Call, Completion, Refusal, cut, refusal, tokens_of


class Delivery(StrEnum):
    """How the bytes of a reply go out."""

    WHOLE = "whole"
    BROKEN_OFF = "broken off"
    TRICKLED = "trickled"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one reply. The name is counted in the server's statistics."""

    name: str
    delay: float = 0.0
    """Seconds to wait before the reply, beside the server's own latency."""
    refused: Refusal | None = None
    """Sent in place of a completion."""
    answer: Callable[[Answer], Answer] = lambda answer: answer
    """Changes what the teacher concludes."""
    change: Callable[[Completion], Completion] = lambda completion: completion
    """Changes the written reply."""
    delivery: Delivery = Delivery.WHOLE


FaultSchedule = Callable[[Call], Fault | None]
"""A call -> what goes wrong with it, None for nothing."""


def no_faults(_: Call) -> None:
    """The schedule of a server that never fails."""


def script(faults: Iterable[Fault | None]) -> FaultSchedule:
    """The faults one after the other, one a call; nothing goes wrong after the last."""
    remaining = iter(faults)
    return lambda _: next(remaining, None)


def where(text: str, fault: Fault, *, times: int | None = None) -> FaultSchedule:
    """The fault for requests that contain `text`, for their first `times` attempts (always, where None)."""
    return lambda call: fault if text in call.text and (times is None or call.attempt < times) else None


def first_of(*schedules: FaultSchedule) -> FaultSchedule:
    """The first fault that any of the schedules names."""
    return lambda call: next((fault for schedule in schedules if (fault := schedule(call))), None)


# --- refusals


def rate_limited(retry_after: float | str | None = 1) -> Fault:
    """429 that asks to wait `retry_after` seconds (or until a date in HTTP's form), without the header where None."""
    body = refusal(429, "Rate limit reached for requests.", "rate_limit_exceeded", kind="requests")
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault("rate_limited", refused=replace(body, headers=headers))


def insufficient_quota() -> Fault:
    """429 that no waiting helps: the account is out of money."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return Fault("insufficient_quota", refused=refusal(429, message, "insufficient_quota", kind="insufficient_quota"))


def server_error(status: int = 500) -> Fault:
    """A failure of the server's own."""
    message = "The server had an error while processing your request."
    return Fault("server_error", refused=refusal(status, message, "internal_error", kind="server_error"))


def html_page(status: int = 502) -> Fault:
    """The page of a proxy in place of JSON."""
    page = "<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
    return Fault("html_page", refused=Refusal(status, page, {"Content-Type": "text/html"}))


def wrong_key() -> Fault:
    """401."""
    return Fault("wrong_key", refused=refusal(401, "Incorrect API key provided.", "invalid_api_key"))


def unknown_model() -> Fault:
    """404 for the model."""
    return Fault("unknown_model", refused=refusal(404, "The model does not exist.", "model_not_found", param="model"))


def context_too_long() -> Fault:
    """400 because the prompt does not fit."""
    message = "This model's maximum context length is 8192 tokens, but you asked for 9000 tokens."
    return Fault("context_too_long", refused=refusal(400, message, "context_length_exceeded", param="messages"))


def content_refused() -> Fault:
    """400 from a content filter that read the prompt."""
    message = "The response was filtered due to the prompt triggering the content management policy."
    return Fault("content_refused", refused=refusal(400, message, "content_filter", param="prompt"))


# --- replies that arrive, but not as they should


def slow(seconds: float) -> Fault:
    """A good reply, late."""
    return Fault("slow", delay=seconds)


def cut_off() -> Fault:
    """Half a reply, with `finish_reason` "length"."""
    return Fault("cut_off", change=lambda whole: cut(whole, len(tokens_of(whole.content or "")) // 2))


def content_filtered() -> Fault:
    """An empty reply with `finish_reason` "content_filter"."""
    return _rewritten("content_filtered", lambda whole: replace(whole, content="", finish_reason="content_filter"))


def malformed_json() -> Fault:
    """A reply that is no JSON any more: the closing brace is missing, or there never was one."""
    return _rewritten("malformed_json", lambda whole: replace(whole, content='{"reason": ' + _halved(whole.content)))


def empty() -> Fault:
    """An empty reply that calls itself complete."""
    return _rewritten("empty", lambda whole: replace(whole, content=""))


def fenced() -> Fault:
    """The reply in a code fence."""
    return _rewritten("fenced", lambda whole: replace(whole, content=f"```json\n{whole.content}\n```"))


def chatty(before: str = "Sure! Here is my answer: ", after: str = "\nI hope this helps.") -> Fault:
    """The reply with small talk around it."""
    return _rewritten("chatty", lambda whole: replace(whole, content=f"{before}{whole.content}{after}"))


def verbatim(content: str | None) -> Fault:
    """Exactly this content."""
    return _rewritten("verbatim", lambda whole: replace(whole, content=content))


def labelled(label: str) -> Fault:
    """Exactly this label, whatever is true: a wrong one, or one outside the set."""
    return Fault("labelled", answer=lambda answer: replace(answer, label=label))


def declined(words: str = "I cannot help with that.") -> Fault:
    """No content, and the model's refusal in a field of its own."""
    return _rewritten("declined", lambda whole: replace(whole, content=None, refusal=words))


def without_usage() -> Fault:
    """`usage` is null."""
    return _rewritten("without_usage", lambda whole: replace(whole, with_usage=False))


def reasoning_content(reasoning: str) -> Fault:
    """The reasoning in a field of its own."""
    return _rewritten("reasoning_content", lambda whole: replace(whole, reasoning=reasoning))


def think_span(thought: str) -> Fault:
    """The reasoning in front of the reply, as `<think>…</think>`."""
    return _rewritten("think_span", lambda whole: replace(whole, content=f"<think>{thought}</think>\n{whole.content}"))


def closed_connection() -> Fault:
    """The connection ends in the middle of the body."""
    return Fault("closed_connection", delivery=Delivery.BROKEN_OFF)


def dropped_connection() -> Fault:
    """The connection ends without a single byte."""
    return Fault("dropped_connection", delivery=Delivery.DROPPED)


def trickling() -> Fault:
    """A body that comes byte by byte, too slowly ever to end."""
    return Fault("trickling", delivery=Delivery.TRICKLED)


def _rewritten(name: str, change: Callable[[Completion], Completion]) -> Fault:
    return Fault(name, change=change)


def _halved(content: str | None) -> str:
    text = json.dumps(content or "")
    return text[: max(1, len(text) // 2)]
