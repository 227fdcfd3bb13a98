"""A model behind an OpenAI-compatible API: its names and addresses, and what a client for it can do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from distillery_api.reasons import Reason
from distillery_api.spec.fields import SecretKeyReference
from distillery_api.spec.request_options import RequestOptions
from distillery_api.spec.teacher import Judge, Limits, Pricing, Server, Teacher
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.request_target import RequestTarget, request_target
from distillery_trainer.data.rows import Message
from distillery_trainer.runtime.errors import UserError


@dataclass(frozen=True)
class RemoteModel:
    """A teacher or a judge."""

    name: str
    """Its name in the manifest and in the training rows."""
    title: str
    """Its name in messages, such as Teacher tester."""
    field: str
    """Its field in the manifest, such as generation.teachers."""
    model_id: str
    """Its name on the server."""
    addresses: tuple[Server, ...]
    limits: Limits
    pricing: Pricing | None = None
    """Price of its tokens."""
    options: RequestOptions = dataclasses.field(default_factory=RequestOptions)
    """What its requests carry beside messages and sampling."""

    @classmethod
    def of_teacher(cls, teacher: Teacher) -> Self:
        """The model of a teacher."""
        return cls(
            name=teacher.name,
            title=f"Teacher {teacher.name}",
            field="generation.teachers",
            model_id=teacher.model,
            addresses=teacher.all_servers,
            limits=teacher.limits,
            pricing=teacher.pricing,
            options=teacher,
        )

    @classmethod
    def of_judge(cls, judge: Judge, field: str, pricing: Pricing | None = None) -> Self:
        """The model of an LLM judge."""
        return cls(
            name="judge",
            title="The judge",
            field=field,
            model_id=judge.model,
            addresses=(Server(url=judge.endpoint, api_key=judge.api_key),),
            limits=Limits(),
            pricing=pricing,
            options=judge,
        )

    def at(self, address: Server) -> str:
        """The model at one of its addresses, for messages."""
        return f"{self.title} ({self.model_id} at {address.url})"

    def api_key(self, address: Server, variables: Mapping[str, str]) -> str | None:
        """The API key of an address, from the environment variable that `variables` names for its Secret.

        Raises UserError where it is empty, or cannot be sent.
        """
        if address.api_key is None:
            return None
        advice = self.key_advice(address.api_key)
        return self._secret(address.api_key, variables, f"{self.at(address)}: its API key", advice)

    def target(self, address: Server, variables: Mapping[str, str]) -> RequestTarget:
        """Where the requests to an address go. Raises UserError where a Secret's value is empty or cannot be sent."""

        def value(secret: SecretKeyReference) -> str:
            what = f"{self.at(address)}: the value of a header or a parameter"
            advice = f"Check the key {secret.key} of the Secret {secret.secret_name} ({self.field}: headers, query)."
            return self._secret(secret, variables, what, advice)

        headers, query = self.options.headers or (), self.options.query or ()
        return request_target(address.url, self.api_key(address, variables), headers, query, value)

    def _secret(self, secret: SecretKeyReference, variables: Mapping[str, str], what: str, advice: str) -> str:
        value = os.environ.get(variables.get(secret.path, ""), "").strip()
        if value.isascii() and value.isprintable() and value:
            return value
        problem = "holds characters that no HTTP header can" if value else "is empty"
        raise UserError(f"{what} {problem}. {advice}", reason=Reason.TEACHER_REJECTED)

    def key_advice(self, secret: SecretKeyReference | None) -> str:
        """What to do where a server rejects the API key."""
        if secret is None:
            return f"Set apiKey to the name of a Secret and a key in it ({self.field})."
        return f"Check the key {secret.key} of the Secret {secret.secret_name} ({self.field}: apiKey)."


class ModelClient(Protocol):
    """Anything that replies to messages, such as a ChatClient."""

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """The reply, or why there is none."""
