"""The first stage: the teacher answers the rows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import NotIdentity, Rule
from distillery_api.spec.fields import Flag, InlineSchema, Language, SchemaUri
from distillery_api.spec.filters import Filters, Redaction
from distillery_api.spec.stage_options import JobOptions
from distillery_api.spec.task import Task
from distillery_api.spec.teacher import Budget, PricedJudge, Pricing, Prompts, Sampling, Teacher

_SINGLE_TEMPERATURE = 0.2


class History(StrEnum):
    """Which assistant messages precede a turn that the teacher answers."""

    TEACHER = "Teacher"
    ORIGINAL = "Original"


def _cost_has_a_price(generation: Generation) -> bool:
    return generation.budget.max_cost is None or all(teacher.pricing for teacher in generation.teachers)


def _judge_is_paid_as_the_teacher_is(generation: Generation) -> bool:
    if generation.judge is None or generation.judge.pricing is None:
        return True
    return generation.pricing is not None and generation.pricing.currency == generation.judge.pricing.currency


class Generation(JobOptions):
    """The first stage: the teacher answers the rows."""

    teachers: Annotated[
        tuple[Teacher, ...], Field(min_length=1, max_length=1, json_schema_extra={"x-list-key": "name"})
    ]
    """Model that answers the rows. Exactly one."""
    answer_schema: Annotated[InlineSchema | None, Field(alias="schema")] = None
    """JSON schema of the answers, for Extraction: an object whose fields stand under properties. Part of the teacher
    prompt, the response format of its requests, and the measure of each answer. At most 65,536 characters and 1,000
    schemas; references lead to parts of the schema itself, and not in circles. Set either this or schemaUri."""
    schema_uri: SchemaUri | None = None
    """Location of the JSON schema, for Extraction: configmap://NAME/KEY, pvc://CLAIM/PATH, file:///PATH, or a plain
    path, as for rows. Change data.version when the content changes. Set either this or schema."""
    chain_of_thought: Flag = False
    """Asks the teacher to reason step by step before it answers, for NLI, MultipleChoice, Classification, Math,
    Extraction and Text. The student is not trained on the reasoning unless keepReasoning is true. Default: false."""
    chain_of_density: Flag = False
    """Asks the teacher for four increasingly dense summaries and keeps the last one, for Summarization.
    Default: false."""
    max_summary_words: Annotated[int, Field(strict=True, ge=10, le=2000)] | None = None
    """Maximum length of a summary, in words, for Summarization. Summaries of more than 1.25 times that length are
    rejected. Default: 80."""
    history: History | None = None
    """Which assistant messages precede each turn that the teacher answers, for Conversation: its own replies (Teacher)
    or those in the row (Original). Default: Teacher."""
    language: Language | None = None
    """Language of the answers, such as de or pt-BR, for Summarization, Conversation and Text. Default: the row's
    language; for Text, the one that the instruction asks for."""
    keep_reasoning: Flag = False
    """Also trains the student on the teacher's reasoning, between <think> and </think> before the answer.
    Default: false."""
    samples: Annotated[int, Field(strict=True, ge=1, le=32)] = 1
    """Number of replies to request for each train and validation row, for NLI, MultipleChoice, Classification, Math,
    Extraction and ToolCalling. The answer that most of them agree on is kept (majority vote). Default: 1."""
    sampling: Sampling = Sampling()
    """Sampling parameters."""
    prompts: Prompts = Prompts()
    """Custom system prompts. Default: those of the task."""
    concurrency: Annotated[int, Field(strict=True, ge=1, le=2000), NotIdentity] = 32
    """Maximum number of concurrent requests, over all servers. Fewer are sent while the server is slow or rate-limits.
    Default: 32."""
    request_timeout_seconds: Annotated[Annotated[int, Field(strict=True, ge=1, le=86_400)] | None, NotIdentity] = None
    """Timeout of a request, in seconds, including the response body. The request is then retried. Default: 120, or 600
    for a teacher with reasoning."""
    min_success_ratio: Annotated[float, Field(strict=True, ge=0, le=1), NotIdentity] = 0.7
    """Minimum share of the train rows, and of the validation rows, that must get a readable, allowed answer, from 0 to
    1. The stage fails as soon as this can no longer be reached. Duplicates do not count. Default: 0.7."""
    min_rows: Annotated[Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None, NotIdentity] = None
    """Minimum number of kept rows in the train split, and in the validation split. The stage fails with fewer. Default:
    8 train rows and 1 validation row; with fewer than 1,000 rows, the result says which of them are few."""
    budget: Annotated[Budget, NotIdentity] = Budget()
    """Hard limit on tokens and cost."""
    filters: Filters = Filters()
    """Conditions for keeping a row."""
    judge: PricedJudge | None = None
    """LLM judge that accepts or rejects each answer. Default: none."""
    redaction: Redaction | None = None
    """Replacement of personal data before a row is sent to the teacher or the judge. Default: none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.budget.maxCost) || self.teachers.all(t, has(t.pricing))",
            "budget.maxCost requires the teacher's pricing; set teachers[0].pricing, or use budget.maxTokens instead",
            _cost_has_a_price,
        ),
        Rule(
            "!has(self.judge) || !has(self.judge.pricing) || self.teachers.all(t, has(t.pricing)"
            " && t.pricing.currency == self.judge.pricing.currency)",
            "judge.pricing requires the teacher's pricing in the same currency; set teachers[0].pricing as well",
            _judge_is_paid_as_the_teacher_is,
        ),
    )

    def checks_language(self, task: Task) -> bool:
        """filters.language, with its default filled in."""
        if self.filters.language is not None:
            return self.filters.language
        return task is not Task.TEXT or self.language is not None

    @property
    def pricing(self) -> Pricing | None:
        """The teacher's pricing."""
        return self.teachers[0].pricing

    @property
    def pricings(self) -> tuple[Pricing | None, Pricing | None]:
        """Pricing of teacher and judge: both in the same currency, or both None."""
        return self.pricing, (self.judge.pricing if self.judge else None) or self.pricing

    @property
    def chosen_sampling(self) -> Sampling:
        """The sampling parameters without values that equal a default, so that writing a default out changes
        nothing."""
        given = self.sampling
        return given.model_copy(
            update={
                "temperature": None if given.temperature == self.temperature_by_default else given.temperature,
                "top_p": None if given.top_p == self.top_p_by_default else given.top_p,
            }
        )

    @property
    def request_timeout(self) -> int:
        """requestTimeoutSeconds, with its default filled in."""
        thinks = any(teacher.reasoning for teacher in self.teachers)
        return self.request_timeout_seconds or (600 if thinks else 120)

    @property
    def held_out_temperature(self) -> float | None:
        """The temperature of held-out rows where it differs from that of the other rows: as for a single sample."""
        warmer_for_the_vote = self.samples > 1 and self.sampling.temperature is None
        return _SINGLE_TEMPERATURE if warmer_for_the_vote else None

    @property
    def temperature_by_default(self) -> float:
        """Low for one sample; higher for several, which would otherwise be the same."""
        return _SINGLE_TEMPERATURE if self.samples == 1 else 0.7

    @property
    def top_p_by_default(self) -> float:
        """Low for one sample, 1 for several."""
        return 0.1 if self.samples == 1 else 1.0
