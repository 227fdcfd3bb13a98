"""How servers say that a reply is complete, truncated or withheld: OpenAI, Anthropic, Bedrock, Cohere, Gemini, Mistral,
Ollama, Text Generation Inference, watsonx and their gateways each have words of their own."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

_COMPLETE = (
    "stop stopped stop_sequence stop_word stop_token complete completed end_turn eos eos_token eos_found"
    " end_of_sequence end_of_text finish finished done normal success null none unspecified"
)
_TRUNCATED = (
    "length model_length max_length max_len max_context max_tokens max_output_tokens max_completion_tokens"
    " max_new_tokens max_predicted_tokens_reached context_length_reached context_length_exceeded"
    " context_window_exceeded model_context_window_exceeded token_limit limit error_limit time_limit incomplete"
)
_WITHHELD = (
    "content_filter content_filtered content_policy_violation safety image_safety recitation blocklist blocked spii"
    " prohibited_content guardrail_intervened guardrails error_toxic refusal moderation flagged"
)
_ABORTED = (
    "error model_error server_error internal_error abort aborted cancelled canceled user_cancel not_finished timeout"
    " insufficient_system_resource"
)
_PREFIX = re.compile("^(?:finish)?reason")
_LONGEST = 64


class Ending(Enum):
    """How a reply ended."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    WITHHELD = "withheld by a content filter"
    ABORTED = "aborted by the server"
    OTHER = "for a reason that nobody knows"


def _plain(name: str) -> str:
    """A name without what differs between servers: MAX_TOKENS, max-tokens and MaxTokens are one."""
    return _PREFIX.sub("", re.sub(r"[\W_]+", "", name).lower())


_ENDINGS = {"": Ending.COMPLETE} | {
    _plain(name): ending
    for ending, names in (
        (Ending.COMPLETE, _COMPLETE),
        (Ending.TRUNCATED, _TRUNCATED),
        (Ending.WITHHELD, _WITHHELD),
        (Ending.ABORTED, _ABORTED),
    )
    for name in names.split()
}


def ending_of(finish_reason: Any) -> Ending:
    """How a reply ended, by its finish reason. Some servers give none for complete replies; anything that is no text
    stands for a reason that nobody knows."""
    if finish_reason is None:
        return Ending.COMPLETE
    if not isinstance(finish_reason, str):
        return Ending.OTHER
    return _ENDINGS.get(_plain(finish_reason[:_LONGEST]), Ending.OTHER)


def is_complete(finish_reason: Any) -> bool:
    """Whether a reply with this finish reason is complete."""
    return ending_of(finish_reason) is Ending.COMPLETE
