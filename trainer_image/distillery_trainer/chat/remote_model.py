"""A model behind an OpenAI-compatible API: its name and addresses, and what any client for it can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from distillery_api.spec.fields import SecretKeyReference
from distillery_api.spec.teacher import Limits, Pricing, Server
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.records import Message


@dataclass(frozen=True)
class RemoteModel:
    """Who is asked: a teacher or a judge."""

    name: str
    """As the manifest and the training rows have it."""
    title: str
    """For sentences, such as Teacher tester."""
    field: str
    """Where the manifest has it, such as generation.teachers."""
    model: str
    servers: tuple[Server, ...]
    limits: Limits
    pricing: Pricing | None = None
    """What its tokens cost."""

    def at(self, server: Server) -> str:
        """The model at one of its servers, for sentences."""
        return f"{self.title} ({self.model} at {server.url})"

    def key_advice(self, secret: SecretKeyReference | None) -> str:
        """What to do where a server takes no question with the key that it got."""
        if secret is None:
            return f"Give it an apiKey: the name of a Secret and a key in it ({self.field})."
        return f"Check the key {secret.key} of the Secret {secret.secret_name} ({self.field}: apiKey)."


class ModelClient(Protocol):
    """Anything that replies to messages, such as a ChatClient."""

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """The reply, or why there is none."""
