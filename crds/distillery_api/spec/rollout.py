"""How a new student takes over from the one that is served."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule
from distillery_api.spec.durations import Duration

Percent = Annotated[int, Field(strict=True, ge=1, le=99)]


class RolloutStrategy(StrEnum):
    """How a new server replaces the one before."""

    ROLLING = "Rolling"
    RECREATE = "Recreate"
    MANUAL = "Manual"
    CANARY = "Canary"


class CanaryStep(ApiModel):
    """One step of a canary: a share of the requests, and how long the candidate has it."""

    percent: Percent
    """Share of the requests that the candidate answers, in percent. It is exact with serving.route of the kind
    HTTPRoute; by numbers of Pods it is met only roughly, and may be 90 at most."""
    duration: Duration | None = None
    """How long the step lasts, such as 10m. Default: until a person sets the annotation distillery.dev/promote, as the
    status says."""


_SHARE = Rule(
    "self <= 1.0",
    "is a share of the answers from 0 to 1, not a percentage; write 0.05 for 5 percent",
    lambda value: value <= 1,
)


class CanaryAnalysis(ApiModel):
    """What the candidate of a canary must be like in use, by what both servers' Pods have counted since a step began.
    The operator reads /metrics of every serving Pod."""

    max_error_ratio: Annotated[float, Field(ge=0), _SHARE] = 0.01
    """Largest share of the candidate's answers that may have an HTTP status of 5xx, from 0 to 1. Default: 0.01."""
    max_latency_ratio: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Largest ratio of the candidate's mean latency to that of the server before it. Default: 2."""
    min_requests: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 50
    """Requests to the candidate that a step needs; until then it goes on. Default: 50."""


LARGEST_SHARE_OF_PODS = 90
"""In percent: nine Pods of the candidate beside each of the server's."""
DEFAULT_PERCENT = 10
DEFAULT_DURATION = "10m"


def _percents_grow(steps: tuple[CanaryStep, ...]) -> bool:
    percents = [step.percent for step in steps]
    return percents == sorted(set(percents))


_GROWING = Rule(
    "self.map(s, s.percent).isSorted() && self.all(s, self.exists_one(t, t.percent == s.percent))",
    "each step needs a larger percent than the one before, such as 10, 25, 50",
    _percents_grow,
)


class RolloutOptions(ApiModel):
    """How a new student takes over."""

    strategy: RolloutStrategy = RolloutStrategy.ROLLING
    """Rolling: a new Pod answers before an old one stops, if the volume is ReadWriteMany or with modelImage; otherwise
    as Recreate. Recreate: the old Pods stop before the new ones start, which needs no further GPU. Manual: as Rolling,
    once a person has set the annotation distillery.dev/promote to the new run's hash. Canary: the new server is
    verified beside the old one and gets a growing share of the requests before it takes over; it needs a volume that
    several nodes can mount, or modelImage. Default: Rolling."""
    canary_percent: Percent | None = None
    """Share of the requests in the only step of a canary, which lasts 10 minutes; without effect where steps are given.
    Only with Canary. At most 90, unless serving.route is an HTTPRoute. Default: 10."""
    steps: Annotated[tuple[CanaryStep, ...], Field(min_length=1, max_length=10), _GROWING] | None = None
    """Steps of a canary, with growing shares. Only with Canary. Default: one step of canaryPercent."""

    analysis: CanaryAnalysis | None = None
    """Bounds that the candidate of a canary must meet in every step; one that does not is removed. Only with Canary.
    Default: none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.strategy == 'Canary' || (!has(self.canaryPercent) && !has(self.steps) && !has(self.analysis))",
            "canaryPercent, steps and analysis are those of a canary; remove them, or set strategy to Canary",
            lambda rollout: rollout.strategy is RolloutStrategy.CANARY or rollout.has_no_canary,
        ),
    )

    @property
    def has_no_canary(self) -> bool:
        """Whether nothing is said about a canary."""
        return self.canary_percent is None and self.steps is None and self.analysis is None

    @property
    def largest_percent(self) -> int:
        """The largest share that a candidate is to have beside another server."""
        return max(step.percent for step in self.canary_steps)

    @property
    def canary_steps(self) -> tuple[CanaryStep, ...]:
        """The steps of a canary, in order."""
        only = CanaryStep(percent=self.canary_percent or DEFAULT_PERCENT, duration=DEFAULT_DURATION)
        return self.steps or (only,)
