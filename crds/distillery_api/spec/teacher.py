"""The large models that answer and judge, and how they are asked."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity, Rule, matches
from distillery_api.spec.fields import Endpoint, Flag, Licence, Prompt, SecretKeyReference, ShortName, StopSequence

ModelName = Annotated[str, Field(min_length=1, max_length=253)]
Price = Annotated[float, Field(strict=True, ge=0, le=1_000_000)]
Currency = Annotated[
    str, Field(max_length=3), matches("^[A-Z]{3}$", "not a currency; write its three letters, for instance USD or EUR")
]


class Server(ApiModel):
    """One address of a model, with its own key."""

    url: Endpoint
    """Base URL, up to and including its version, such as https://teacher.example/v1."""
    api_key: SecretKeyReference | None = None
    """The key for the server. Default: none is sent."""


class Pricing(ApiModel):
    """What a teacher's tokens cost."""

    currency: Currency
    """Three letters, such as USD."""
    input_per_million: Price
    """Price of a million tokens read."""
    output_per_million: Price
    """Price of a million tokens written."""
    cached_input_per_million: Price | None = None
    """Price of a million tokens that the server had in its cache. Default: inputPerMillion."""


class Limits(ApiModel):
    """How fast a teacher may be asked, for each server and key."""

    requests_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = None
    """Most requests a minute. Default: as many as the server takes."""
    tokens_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000_000_000)] | None = None
    """Most tokens a minute, read and written. Default: as many as the server takes."""


def _is_at_one_or_at_several_servers(teacher: Teacher) -> bool:
    return (teacher.endpoint is None) != (teacher.servers is None)


def _key_stands_beside_its_server(teacher: Teacher) -> bool:
    return teacher.servers is None or teacher.api_key is None


class Teacher(ApiModel):
    """A large model behind an OpenAI-compatible API."""

    name: ShortName
    """A name of your choice, recorded with each row."""
    endpoint: Annotated[Endpoint | None, NotIdentity] = None
    """Base URL of the server, up to and including its version, such as https://teacher.example/v1."""
    api_key: Annotated[SecretKeyReference | None, NotIdentity] = None
    """The key for the server. Default: none is sent."""
    servers: Annotated[Annotated[tuple[Server, ...], Field(min_length=1, max_length=16)] | None, NotIdentity] = None
    """Several addresses or keys of the same model, in place of endpoint; each is paced by what it says itself."""
    model: ModelName
    """The model's name at the server."""
    reasoning: Flag = False
    """Says that the model thinks before it answers, as o1, DeepSeek-R1 and QwQ do: its replies get room for that
    (4,096 tokens by default). Thoughts are told apart from answers in any case. Default: false."""
    pricing: Annotated[Pricing | None, NotIdentity] = None
    """What its tokens cost, for estimates and generation.budget.maxCost."""
    limits: Annotated[Limits, NotIdentity] = Limits()
    """How fast it may be asked."""
    licence: Annotated[Licence | None, NotIdentity] = None
    """The licence of its output, for the data set card."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.endpoint) != has(self.servers)",
            "give either endpoint, one server, or servers, a list of {url, apiKey}",
            _is_at_one_or_at_several_servers,
        ),
        Rule(
            "!has(self.servers) || !has(self.apiKey)",
            "apiKey belongs to endpoint; with servers, give each server its own apiKey",
            _key_stands_beside_its_server,
        ),
    )

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """Every address of the model."""
        if self.servers is not None:
            return self.servers
        return (Server(url=self.endpoint or "", api_key=self.api_key),)


class Judge(ApiModel):
    """A model that judges answers; another one than the teacher."""

    endpoint: Annotated[Endpoint, NotIdentity]
    """Base URL of the server, up to and including its version."""
    model: ModelName
    """The model's name at the server."""
    api_key: Annotated[SecretKeyReference | None, NotIdentity] = None
    """The key for the server. Default: none is sent."""


class PricedJudge(Judge):
    """A model that judges the teacher's answers, at a price of its own."""

    pricing: Annotated[Pricing | None, NotIdentity] = None
    """What its tokens cost, in the currency of the teacher's pricing. Default: as much as the teacher's."""


class Sampling(ApiModel):
    """How the teacher chooses its words."""

    temperature: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """From 0 to 1. Default: 0.2, and 0.7 with several samples."""
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """Nucleus sampling, from 0 to 1. Default: 0.1, and 1 with several samples."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=131_072)] | None = None
    """Longest reply, in tokens. Default: 128 for labels and numbers, 512 with chain of thought, 1,024 for conversation,
    three times maxSummaryWords for summaries and eight times that many words with chain of density (at least 1,024),
    and 4,096 for a reasoning teacher."""
    frequency_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """From 0 to 2. Default: 0, which is not sent."""
    presence_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """From 0 to 2. Default: 0, which is not sent."""
    stop: Annotated[tuple[StopSequence, ...], Field(max_length=4)] | None = None
    """Up to four texts that end a reply."""


class Prompts(ApiModel):
    """Your own system prompts instead of the task's."""

    teacher: Prompt | None = None
    """What the teacher is told. Default: the chain-of-thought or chain-of-density template where that is on, else the
    student's prompt."""
    student: Prompt | None = None
    """What the student is trained and served with. Default: the row's own system message, else the
    task's short prompt."""


class Budget(ApiModel):
    """A hard limit on what the teacher may cost."""

    max_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000_000)] | None = None
    """Most tokens, read and written, that all teacher calls of this workspace may use together. Reserved before each
    call, so it is never overshot; everything paid for is kept. Default: no limit."""
    max_cost: Annotated[float, Field(strict=True, gt=0, le=1_000_000_000)] | None = None
    """Most money that all teacher calls of this workspace may cost together, in the currency of the teacher's pricing.
    Reserved before each call, as maxTokens is. Default: no limit."""
