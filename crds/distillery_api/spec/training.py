"""The student and the second stage, which trains it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity
from distillery_api.spec.fields import ModelUri, SecretReference
from distillery_api.spec.stage_options import StageOptions


class TrainingMethod(StrEnum):
    """Which of the student's weights are trained."""

    LORA = "LoRA"
    FULL = "Full"


class StudentModel(ApiModel):
    """The small model to train."""

    uri: ModelUri
    """A causal language model with tokenizer and chat template, in the Hugging Face format: hf://ORG/NAME, optionally
    @REVISION, pvc://CLAIM/PATH, file:///PATH, or a plain path (as in `data`)."""


class Student(ApiModel):
    """The student."""

    model: StudentModel
    """The small model to train."""
    credentials: Annotated[SecretReference | None, NotIdentity] = None
    """A Secret whose keys become environment variables of the stages that load the model, for instance HF_TOKEN."""


class Lora(ApiModel):
    """Low-rank adapters (Hu et al., arXiv 2106.09685) on all linear layers."""

    rank: Annotated[int, Field(strict=True, ge=1, le=512)] = 8
    """Rank of the adapters. Default: 8."""
    alpha: Annotated[int, Field(strict=True, ge=1, le=4096)] = 128
    """Scale of the adapters; their weight is alpha / rank. Default: 128."""
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0
    """Share of the adapters' inputs that is dropped in training. Default: 0."""


class Training(StageOptions):
    """The second stage: the student learns the teacher's answers under the short prompt."""

    method: TrainingMethod = TrainingMethod.LORA
    """LoRA trains small adapters and merges them; Full trains every weight. Default: LoRA."""
    lora: Lora = Lora()
    """The adapters, where method is LoRA."""
    epochs: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """Passes over the training rows. Default: 1."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 1
    """Rows a step. Default: 1."""
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.0003
    """Peak of the cosine schedule. Default: 0.0003."""
    warmup_steps: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 5
    """Steps until the learning rate peaks. Default: 5."""
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    """Weight decay of AdamW. Default: 0.1."""
    max_length: Annotated[int, Field(strict=True, ge=16, le=1_048_576)] = 8192
    """Longest row, in tokens, at most the model's positions. Longer rows are rejected and counted, never cut.
    Default: 8192."""
    seed: Annotated[int, Field(strict=True, ge=0, le=4_294_967_295)] = 42
    """Seed of shuffling and initialisation. Default: 42."""
