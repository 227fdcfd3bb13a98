"""The responses of an OpenAI-compatible chat server as plain values, without any network.

The stand-in teacher and the test teacher find answers in different ways, but share the form of completions, refusals
and token counts, which is defined here.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Message = Mapping[str, Any]
"""One entry of a request's `messages`: `role` and `content`."""

ANSWER_KEYS = ("reason", "answer_choice")
"""Keys of the structured reply. A request that contains all of them gets JSON."""

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])")


@dataclass(frozen=True)
class Answer:
    """A teacher's answer and its reason."""

    label: str
    reason: str = ""


AnswerFunction = Callable[[Sequence[Message]], Answer]
"""Messages of a request -> the teacher's answer."""


@dataclass(frozen=True)
class Call:
    """A chat request, as passed to a schedule of faults."""

    number: int
    """Number of chat requests before this one."""
    attempt: int
    """Number of earlier requests with the same messages: 0 at first, and one more at each retry."""
    body: Mapping[str, Any]

    @property
    def messages(self) -> Sequence[Message]:
        """The request's messages."""
        messages: Sequence[Message] = self.body["messages"]
        return messages

    @property
    def text(self) -> str:
        """All text of the request."""
        return "\n".join(text_of(message) for message in self.messages)


@dataclass(frozen=True)
class Completion:
    """A reply before it is wrapped in the protocol's response."""

    content: str | None
    finish_reason: str = "stop"
    reasoning: str | None = None
    """Sent as `reasoning_content` beside the content, if not None."""
    refusal: str | None = None
    """Sent as `refusal` beside the content, if not None."""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """Sent as `tool_calls` where there is no content: `name` and `arguments` of each."""
    with_usage: bool = True


@dataclass(frozen=True)
class Refusal:
    """A response that is not a completion: an error object, an HTML page, or any bytes."""

    status: int
    body: Mapping[str, Any] | str | bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(status: int, message: str, code: str, *, kind: str = "invalid_request_error", param: str = "") -> Refusal:
    """A refusal with the protocol's error object. `kind` is its `type`."""
    return Refusal(status, {"error": {"message": message, "type": kind, "param": param or None, "code": code}})


# --- text and tokens


def text_of(message: Message) -> str:
    """The text of a message; for content in parts, of the text parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last user message; "" if there is none."""
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def tokens_of(text: str) -> list[str]:
    """The tokens of this server: words and punctuation marks, each with the whitespace before it."""
    return _TOKEN.findall(text)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """The number of tokens of a request, with four more per message for its frame."""
    return sum(len(tokens_of(text_of(message))) + 4 for message in body["messages"])


def token_limit(body: Mapping[str, Any]) -> int | None:
    """The maximum number of tokens of the reply, by either of the protocol's names for it."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return None if limit is None else int(limit)


def cut(completion: Completion, limit: int | None) -> Completion:
    """The completion, cut off with `finish_reason` "length" if it is longer than `limit` tokens."""
    tokens = tokens_of(completion.content or "")
    if limit is None or len(tokens) <= limit:
        return completion
    return replace(completion, content="".join(tokens[:limit]), finish_reason="length")


# --- writing the reply


def wants_json(body: Mapping[str, Any]) -> bool:
    """Whether the response format or the prompt contains the keys of the structured reply."""
    text = json.dumps(body.get("response_format")) + "".join(text_of(message) for message in body["messages"])
    return all(key in text for key in ANSWER_KEYS)


def write_answer(answer: Answer, body: Mapping[str, Any]) -> Completion:
    """The answer in the requested form: calls where the request has tools and the label is a list of them, JSON with
    the reason first, or the label only."""
    if body.get("tools") and answer.label.startswith('[{"name":'):
        return Completion(None, finish_reason="tool_calls", tool_calls=json.loads(answer.label))
    if not wants_json(body):
        return Completion(answer.label)
    reply = {"reason": answer.reason, "answer_choice": answer.label}
    return Completion(json.dumps(reply, ensure_ascii=False))


def message_body(completion: Completion) -> dict[str, Any]:
    """The assistant's message of a choice."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.content}
    if completion.reasoning is not None:
        message["reasoning_content"] = completion.reasoning
    if completion.refusal is not None:
        message["refusal"] = completion.refusal
    if completion.content is None and completion.tool_calls:
        message["tool_calls"] = [_call_body(number, call) for number, call in enumerate(completion.tool_calls)]
    return message


def _call_body(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def usage_body(body: Mapping[str, Any], completion: Completion, choices: int) -> dict[str, int]:
    """The token counts of a reply."""
    input_tokens = prompt_tokens(body)
    calls = json.dumps(list(completion.tool_calls)) if completion.tool_calls else None
    texts = completion.content, completion.reasoning, completion.refusal, calls
    output_tokens = choices * sum(len(tokens_of(text or "")) for text in texts)
    total = input_tokens + output_tokens
    return {"prompt_tokens": input_tokens, "completion_tokens": output_tokens, "total_tokens": total}


def completion_body(body: Mapping[str, Any], completion: Completion, number: int, created: int) -> dict[str, Any]:
    """The reply to request `number`, at `created` (seconds since 1970), with as many equal choices as `n` asks for."""
    choices = int(body.get("n") or 1)
    message, reason = message_body(completion), completion.finish_reason
    return {
        "id": f"chatcmpl-{number:08}",
        "object": "chat.completion",
        "created": created,
        "model": body["model"],
        "choices": [{"index": index, "message": message, "finish_reason": reason} for index in range(choices)],
        "usage": usage_body(body, completion, choices) if completion.with_usage else None,
    }


# --- invalid requests


@dataclass(frozen=True)
class Rules:
    """The conditions for a valid request."""

    models: tuple[str, ...] = ("teacher",)
    api_key: str | None = None
    """The only accepted key. None accepts any key, or none."""
    context_tokens: int = 8192
    """Maximum number of tokens of prompt and reply together."""
    refused_parameters: tuple[str, ...] = ()
    """Request fields answered with 400 `unsupported_parameter`, as reasoning models and small servers do."""


def check_key(rules: Rules, authorization: str) -> Refusal | None:
    """401 if the key in the Authorization header is not the server's."""
    if rules.api_key is None or authorization == f"Bearer {rules.api_key}":
        return None
    return refusal(401, "Incorrect API key provided.", "invalid_api_key")


def check_request(rules: Rules, body: Any) -> Refusal | None:
    """The refusal of an invalid request; None for a valid one."""
    if not isinstance(body, dict) or not body.get("messages"):
        return refusal(400, "The request has no messages.", "invalid_value", param="messages")
    checks = (_check_model, _check_parameters, _check_response_format, _check_context)
    return next((refused for check in checks if (refused := check(rules, body))), None)


def _check_model(rules: Rules, body: Mapping[str, Any]) -> Refusal | None:
    model = body.get("model")
    if model in rules.models:
        return None
    return refusal(404, f"The model `{model}` does not exist.", "model_not_found", param="model")


def _check_parameters(rules: Rules, body: Mapping[str, Any]) -> Refusal | None:
    refused = [*rules.refused_parameters, *(["stream"] if body.get("stream") else [])]
    name = next((name for name in refused if name in body), None)
    if name is None:
        return None
    hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
    message = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    return refusal(400, message, "unsupported_parameter", param=name)


def _check_response_format(_: Rules, body: Mapping[str, Any]) -> Refusal | None:
    chosen = body.get("response_format") or {"type": "text"}
    if chosen.get("type") in ("text", "json_object") or isinstance(chosen.get("json_schema", {}).get("schema"), dict):
        return None
    return refusal(400, "The response format is not one of text, json_object, json_schema.", "invalid_value")


def _check_context(rules: Rules, body: Mapping[str, Any]) -> Refusal | None:
    needed = prompt_tokens(body) + (token_limit(body) or 0)
    if needed <= rules.context_tokens:
        return None
    message = (
        f"This model's maximum context length is {rules.context_tokens} tokens, but you asked for {needed} tokens."
    )
    return refusal(400, message, "context_length_exceeded", param="messages")
