"""The first stage: the teacher answers the rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.spec.fields import Flag
from distillery_api.spec.stage_options import StageOptions
from distillery_api.spec.teacher import Budget, Prompts, Sampling, Teacher


class Generation(StageOptions):
    """The first stage: the teacher answers the rows."""

    teachers: Annotated[
        tuple[Teacher, ...], Field(min_length=1, max_length=1, json_schema_extra={"x-list-key": "name"})
    ]
    """The model that answers; exactly one."""
    chain_of_thought: Flag = False
    """Lets the teacher reason step by step before it answers. The reasoning improves the answer and is not trained on.
    Default: false."""
    sampling: Sampling = Sampling()
    """How the teacher chooses its words."""
    prompts: Prompts = Prompts()
    """Your own prompts instead of the task's."""
    concurrency: Annotated[int, Field(strict=True, ge=1, le=2000)] = 32
    """Calls under way at once. Default: 32."""
    min_success_ratio: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.7
    """Share of a split's rows that must get a readable, allowed answer, from 0 to 1. The stage ends as soon as it
    cannot be reached any more. Default: 0.7."""
    budget: Budget = Budget()
    """A hard limit on tokens."""
