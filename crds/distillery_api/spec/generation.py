"""The first stage: the teacher answers the rows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import NotIdentity, Rule
from distillery_api.spec.fields import Flag, Language
from distillery_api.spec.filters import Filters, Redaction
from distillery_api.spec.stage_options import StageOptions
from distillery_api.spec.teacher import Budget, PricedJudge, Pricing, Prompts, Sampling, Teacher

_SINGLE_TEMPERATURE = 0.2


class History(StrEnum):
    """What stands before a turn of a conversation that the teacher answers."""

    TEACHER = "Teacher"
    ORIGINAL = "Original"


def _cost_has_a_price(generation: Generation) -> bool:
    return generation.budget.max_cost is None or all(teacher.pricing for teacher in generation.teachers)


def _judge_is_paid_as_the_teacher_is(generation: Generation) -> bool:
    if generation.judge is None or generation.judge.pricing is None:
        return True
    return generation.pricing is not None and generation.pricing.currency == generation.judge.pricing.currency


class Generation(StageOptions):
    """The first stage: the teacher answers the rows."""

    teachers: Annotated[
        tuple[Teacher, ...], Field(min_length=1, max_length=1, json_schema_extra={"x-list-key": "name"})
    ]
    """The model that answers; exactly one."""
    chain_of_thought: Flag = False
    """Lets the teacher reason step by step before it answers, for NLI, MultipleChoice and Math. The reasoning improves
    the answer and is not trained on. Default: false."""
    chain_of_density: Flag = False
    """Lets the teacher write four summaries, each denser than the one before, and keeps the last, for Summarization.
    Default: false."""
    max_summary_words: Annotated[int, Field(strict=True, ge=10, le=2000)] | None = None
    """Longest summary, in words, for Summarization. Default: 80."""
    history: History | None = None
    """For Conversation: whether a turn is answered after the teacher's own earlier replies (Teacher) or after those
    that the row holds (Original). Default: Teacher."""
    language: Language | None = None
    """Language of the answers, such as de or pt-BR, for Summarization and Conversation. Default: that of the row."""
    keep_reasoning: Flag = False
    """Trains the student on the teacher's thoughts, too, between <think> and </think> before the answer.
    Default: false."""
    samples: Annotated[int, Field(strict=True, ge=1, le=32)] = 1
    """Replies asked for each train and validation row, of which the answer that most agree on is kept, for NLI,
    MultipleChoice and Math. Default: 1."""
    sampling: Sampling = Sampling()
    """How the teacher chooses its words."""
    prompts: Prompts = Prompts()
    """Your own prompts instead of the task's."""
    concurrency: Annotated[int, Field(strict=True, ge=1, le=2000), NotIdentity] = 32
    """Most calls under way at once. There are fewer while the teacher is slow or says that it is asked too much.
    Default: 32."""
    request_timeout_seconds: Annotated[Annotated[int, Field(strict=True, ge=1, le=86_400)] | None, NotIdentity] = None
    """Longest time for one call, in seconds, after which it is tried again. Default: 120, and 600 for a teacher that
    thinks."""
    min_success_ratio: Annotated[float, Field(strict=True, ge=0, le=1), NotIdentity] = 0.7
    """Share of a split's rows that must get a readable, allowed answer, from 0 to 1. The stage ends as soon as it
    cannot be reached any more. Duplicates do not count. Default: 0.7."""
    min_rows: Annotated[Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None, NotIdentity] = None
    """Fewest rows of the train split, and of the validation split, that must be kept. Default: 65, and 40 for Math."""
    budget: Annotated[Budget, NotIdentity] = Budget()
    """A hard limit on tokens and money."""
    filters: Filters = Filters()
    """Which rows and replies are kept."""
    judge: PricedJudge | None = None
    """Another model that looks at each answer and may reject it. Default: none."""
    redaction: Redaction | None = None
    """Personal data that is replaced before a row leaves. Default: nothing is."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.budget.maxCost) || self.teachers.all(t, has(t.pricing))",
            "budget.maxCost needs the teacher's pricing; give teachers[0].pricing, or set budget.maxTokens instead",
            _cost_has_a_price,
        ),
        Rule(
            "!has(self.judge) || !has(self.judge.pricing) || self.teachers.all(t, has(t.pricing)"
            " && t.pricing.currency == self.judge.pricing.currency)",
            "judge.pricing needs the teacher's pricing, in the same currency; give teachers[0].pricing as well",
            _judge_is_paid_as_the_teacher_is,
        ),
    )

    @property
    def pricing(self) -> Pricing | None:
        """What the teacher's tokens cost."""
        return self.teachers[0].pricing

    @property
    def pricings(self) -> tuple[Pricing | None, Pricing | None]:
        """What the tokens of teacher and judge cost: both, in one currency, or nothing known."""
        return self.pricing, (self.judge.pricing if self.judge else None) or self.pricing

    @property
    def chosen_sampling(self) -> Sampling:
        """The sampling without what stands for the default anyway, so that saying a default changes nothing."""
        given = self.sampling
        return given.model_copy(
            update={
                "temperature": None if given.temperature == self.temperature_by_default else given.temperature,
                "top_p": None if given.top_p == self.top_p_by_default else given.top_p,
            }
        )

    @property
    def seconds_a_call(self) -> int:
        """The longest time for one call."""
        thinks = any(teacher.reasoning for teacher in self.teachers)
        return self.request_timeout_seconds or (600 if thinks else 120)

    @property
    def held_out_temperature(self) -> float | None:
        """The temperature for rows that are asked once, where it is not that of the others: as for a single sample."""
        warmer_for_the_vote = self.samples > 1 and self.sampling.temperature is None
        return _SINGLE_TEMPERATURE if warmer_for_the_vote else None

    @property
    def temperature_by_default(self) -> float:
        """Cool for one sample; warm for several, which would else be the same."""
        return _SINGLE_TEMPERATURE if self.samples == 1 else 0.7

    @property
    def top_p_by_default(self) -> float:
        """Narrow for one sample, open for several."""
        return 0.1 if self.samples == 1 else 1.0
