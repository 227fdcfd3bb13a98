"""Remote models (teacher and judges), and how they are called."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity, Rule, matches
from distillery_api.spec.endpoints import Endpoint
from distillery_api.spec.fields import Flag, Licence, Prompt, SecretKeyReference, ShortName, StopSequence
from distillery_api.spec.request_options import RequestOptions

ModelName = Annotated[str, Field(min_length=1, max_length=253)]
Price = Annotated[float, Field(strict=True, ge=0, le=1_000_000)]
Currency = Annotated[
    str, Field(max_length=3), matches("^[A-Z]{3}$", "not a currency code; use three letters, for example USD or EUR")
]


class Server(ApiModel):
    """A server of the model, with its own API key."""

    url: Endpoint
    """Base URL including the API version, such as https://teacher.example/v1, or the whole target URI of a deployment
    on Azure."""
    api_key: SecretKeyReference | None = None
    """API key. Default: no key is sent."""


class Pricing(ApiModel):
    """Price of tokens."""

    currency: Currency
    """Three-letter currency code, such as USD."""
    input_per_million: Price
    """Price per million input tokens."""
    output_per_million: Price
    """Price per million output tokens."""
    cached_input_per_million: Price | None = None
    """Price per million input tokens that the server read from its cache. Default: inputPerMillion."""


class Limits(ApiModel):
    """Rate limits for each server and API key."""

    requests_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = None
    """Maximum number of requests per minute. Default: only the server's own limit."""
    tokens_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000_000_000)] | None = None
    """Maximum number of tokens per minute, input and output. Default: only the server's own limit."""


def _is_at_one_or_at_several_servers(teacher: Teacher) -> bool:
    return (teacher.endpoint is None) != (teacher.servers is None)


def _key_stands_beside_its_server(teacher: Teacher) -> bool:
    return teacher.servers is None or teacher.api_key is None


def _sends_one_key(model: Teacher | Judge) -> bool:
    return model.api_key is None or not model.sends("authorization")


_ONE_KEY = Rule(
    "!has(self.apiKey) || !has(self.headers) || !self.headers.exists(h, h.name.lowerAscii() == 'authorization')",
    "apiKey is sent in the header Authorization; remove either of them",
    _sends_one_key,
)


class Teacher(RequestOptions):
    """The teacher: a large model behind an OpenAI-compatible API."""

    name: ShortName
    """Name of your choice, recorded with each row."""
    endpoint: Annotated[Endpoint | None, NotIdentity] = None
    """Base URL of the server including the API version, such as https://teacher.example/v1, or the whole target URI of
    a deployment on Azure. Set either this or servers."""
    api_key: Annotated[SecretKeyReference | None, NotIdentity] = None
    """API key. Default: no key is sent."""
    servers: Annotated[Annotated[tuple[Server, ...], Field(min_length=1, max_length=16)] | None, NotIdentity] = None
    """Several servers or API keys for the same model, used in parallel, each at its own rate. Set either this or
    endpoint."""
    model: ModelName
    """Name of the model on the server."""
    reasoning: Flag = False
    """Set to true for a model that reasons before it answers, such as o1, DeepSeek-R1 or QwQ. The defaults are then
    4,096 for sampling.maxTokens and 600 for requestTimeoutSeconds. Reasoning is separated from answers in either case.
    Default: false."""
    pricing: Annotated[Pricing | None, NotIdentity] = None
    """Price of tokens, for estimates and budget.maxCost. Default: unknown."""
    limits: Annotated[Limits, NotIdentity] = Limits()
    """Rate limits."""
    licence: Annotated[Licence | None, NotIdentity] = None
    """Licence of the model's output, for the dataset card. Default: none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.endpoint) != has(self.servers)",
            "set either endpoint (one server) or servers (a list of {url, apiKey})",
            _is_at_one_or_at_several_servers,
        ),
        Rule(
            "!has(self.servers) || !has(self.apiKey)",
            "apiKey is only used with endpoint; with servers, give each server its own apiKey",
            _key_stands_beside_its_server,
        ),
        _ONE_KEY,
    )

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """All servers of the model."""
        if self.servers is not None:
            return self.servers
        return (Server(url=self.endpoint or "", api_key=self.api_key),)


class Judge(RequestOptions):
    """An LLM judge: another model than the teacher that assesses answers."""

    endpoint: Annotated[Endpoint, NotIdentity]
    """Base URL of the server including the API version."""
    model: ModelName
    """Name of the model on the server."""
    api_key: Annotated[SecretKeyReference | None, NotIdentity] = None
    """API key. Default: no key is sent."""
    rubric: Prompt | None = None
    """What makes an answer good, in your own words; the judge goes by it first of all. Default: that it is correct,
    complete, and as the instructions want it."""

    rules: ClassVar[tuple[Rule, ...]] = (_ONE_KEY,)


class PricedJudge(Judge):
    """An LLM judge of the teacher's answers, with its own pricing."""

    pricing: Annotated[Pricing | None, NotIdentity] = None
    """Price of tokens, in the currency of the teacher's pricing. Default: the teacher's pricing."""


class Sampling(ApiModel):
    """Sampling parameters."""

    temperature: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """Sampling temperature, from 0 to 1. Default: 0.2, or 0.7 with several samples."""
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """Probability mass for nucleus sampling, from 0 to 1. Default: 0.1, or 1 with several samples."""
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=131_072)] | None = None
    """Maximum length of a reply, in tokens, reasoning included. Default: 128 for labels and numbers, or 512
    with chainOfThought; 1,024 for Conversation and Text, or 1,536 with chainOfThought; 3 times maxSummaryWords for
    Summarization, or 8 times with chainOfDensity, but at least 1,024; 4,096 for a teacher with reasoning."""
    frequency_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """Frequency penalty, from 0 to 2. Default: 0, which is not sent."""
    presence_penalty: Annotated[float, Field(strict=True, ge=0, le=2)] = 0
    """Presence penalty, from 0 to 2. Default: 0, which is not sent."""
    stop: Annotated[tuple[StopSequence, ...], Field(max_length=4)] | None = None
    """Up to four sequences at which the reply ends. Default: none."""


class Prompts(ApiModel):
    """Custom system prompts."""

    instructions: Prompt | None = None
    """The task in your own words: what the labels mean, what to leave out, in which tone to answer. They are part of
    every prompt of teacher and student, in place of the row's own system message, before the task's words about the
    form of the reply. Default: the row's own system message, otherwise the student prompt."""
    teacher: Prompt | None = None
    """Teacher prompt. Default: the template for chainOfThought or chainOfDensity, laid around the instructions, if that
    is true, otherwise the student prompt."""
    student: Prompt | None = None
    """Student prompt: the system prompt that the student is trained and served with. Default: the row's own system
    message, otherwise the task's student prompt."""


class Budget(ApiModel):
    """Hard limit on tokens and cost."""

    max_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000_000)] | None = None
    """Maximum number of tokens, input and output, for all requests of this workspace to the teacher and
    generation.judge. The maximum that a request may use is reserved before it is sent, so the limit is never exceeded.
    When it is reached, the stage fails and all paid replies are kept. Default: no limit."""
    max_cost: Annotated[float, Field(strict=True, gt=0, le=1_000_000_000)] | None = None
    """Maximum cost of all requests of this workspace to the teacher and generation.judge, in the currency of the
    teacher's pricing, which is required. Reserved before each request, as for maxTokens. Default: no limit."""
