"""Models whose chat template knows no system message: how their servers say so, and what they are sent instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

from distillery_trainer.chat.error_responses import ErrorResponse
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import tools_of, with_tools

_STATUSES = (400, 422, 424, 500, 501)
"""A chat template that raises an exception is a server error with some servers."""
_SYSTEM = (
    r"(?:(?:system|developer)['\"`]? (?:role|message|prompt|instruction)"
    r"|['\"`](?:system|developer)['\"`]|role:? system)"
)
_NOT = r"(?:\b(?:not|no|only|unsupported|unexpected|invalid|unknown|forbidden|disabled)\b|n't\b)"
_NO_SYSTEM_MESSAGE = re.compile(
    rf"{_SYSTEM}.{{0,60}}{_NOT}|{_NOT}.{{0,60}}{_SYSTEM}"
    r"|\bonly\b.{0,20}\buser\b.{0,20}\bassistant\b.{0,20}\brole"
    r"|\broles must alternate"
    r"|\b(?:conversation|messages?)\b.{0,30}\b(?:start|begin)s? with an? .?user"
    r"|\bfirst message\b.{0,30}\buser\b"
    r"|\bshould be 'user' or 'assistant'",
    re.IGNORECASE,
)
"""The words of chat templates (Gemma, Mistral, Phi-3) and of providers."""
_KNOWS_SYSTEM_MESSAGES = "optional system message"
"""A template that says this knows one: then the roles are wrong for another reason."""


_OF_A_TEMPLATE = re.compile(r"\b(?:jinja|template|roles?)\b", re.IGNORECASE)
"""What an error of the server itself has to mention: others are about its file system, or its system prompt cache."""


def rejects_system_message(response: ErrorResponse) -> bool:
    """Whether a request is rejected because its first message is a system message."""
    if response.status not in _STATUSES or _KNOWS_SYSTEM_MESSAGES in response.message:
        return False
    if response.status >= 500 and not _OF_A_TEMPLATE.search(response.message):
        return False
    return _NO_SYSTEM_MESSAGE.search(response.message) is not None


def with_system_in_first_user_turn(messages: Sequence[Message]) -> list[Message]:
    """The conversation with its system text, an empty line and the first user message as one user message; unchanged
    where it has no system message before a user message."""
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return list(messages)
    text = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    user: Message = {**messages[1], "content": text}
    return with_tools([user, *messages[2:]], tools_of(messages))
