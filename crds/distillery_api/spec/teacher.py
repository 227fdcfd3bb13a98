"""The large model that answers, and how it is asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.model import ApiModel
from distillery_api.spec.fields import Endpoint, Prompt, SecretKeyReference, ShortName, StopSequence


class Teacher(ApiModel):
    """A large model behind an OpenAI-compatible API."""

    name: ShortName
    """A name of your choice, recorded with each row."""
    endpoint: Endpoint
    """Base URL of the server, up to and including its version, such as https://teacher.example/v1."""
    model: Annotated[str, Field(min_length=1, max_length=253)]
    """The model's name at that server."""
    api_key: SecretKeyReference | None = None
    """The key for the server. Default: none is sent."""


class Sampling(ApiModel):
    """How the teacher chooses its words."""

    temperature: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.2
    """From 0 to 1. Default: 0.2."""
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    """Nucleus sampling, from 0 to 1. Default: 0.1."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=131_072)] | None = None
    """Longest reply, in tokens. Default: 128 for labels, 512 with chain of thought."""
    frequency_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """From 0 to 2. Default: 0, which is not sent."""
    presence_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """From 0 to 2. Default: 0, which is not sent."""
    stop: Annotated[tuple[StopSequence, ...], Field(max_length=4)] | None = None
    """Up to four texts that end a reply."""


class Prompts(ApiModel):
    """Your own system prompts instead of the task's."""

    teacher: Prompt | None = None
    """What the teacher is told. Default: the chain-of-thought template where that is on, else the student's prompt."""
    student: Prompt | None = None
    """What the student is trained and served with. Default: the row's own system message, else the
    task's short prompt."""


class Budget(ApiModel):
    """A hard limit on what the teacher may cost."""

    max_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000_000)] | None = None
    """Most tokens, read and written, that all teacher calls of this workspace may use together. Reserved before each
    call, so it is never overshot; everything paid for is kept. Default: no limit."""
