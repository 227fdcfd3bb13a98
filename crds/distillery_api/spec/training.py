"""The student and the second stage, which trains it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity
from distillery_api.spec.fields import ModelUri, SecretReference
from distillery_api.spec.stage_options import JobOptions


class TrainingMethod(StrEnum):
    """Which weights are trained."""

    LORA = "LoRA"
    FULL = "Full"


class StudentModel(ApiModel):
    """The model to train."""

    uri: ModelUri
    """Location of a causal language model with tokenizer and chat template in Hugging Face format: hf://ORG/NAME or
    hf://ORG/NAME@REVISION, pvc://CLAIM/PATH, file:///PATH, or a plain path, relative to the same folder as in
    `data`."""


class ToolFormat(StrEnum):
    """How a student reads tools, and writes calls."""

    TEMPLATE = "Template"
    HERMES = "Hermes"


class Student(ApiModel):
    """The student: the small model that is trained and served."""

    model: StudentModel
    """Base model to train."""
    tool_format: ToolFormat = ToolFormat.TEMPLATE
    """How ToolCalling writes tools, calls and results for the student. Template: as its own chat template does, which
    has to know tools. Hermes: descriptions in the system message, calls as JSON between <tool_call> marks, whatever the
    chat template knows; for models that were never taught to call tools. Default: Template."""
    credentials: Annotated[SecretReference | None, NotIdentity] = None
    """Secret whose keys become environment variables of the train and evaluate stages, which load the model, for
    example HF_TOKEN, and with the prefix DISTILLERY_STUDENT_ of the generate stage, which checks it. Default: none."""


class Lora(ApiModel):
    """LoRA adapters (Hu et al., arXiv 2106.09685) on all linear layers except the output layer."""

    rank: Annotated[int, Field(strict=True, ge=1, le=512)] = 8
    """Rank of the adapters. Default: 8."""
    alpha: Annotated[int, Field(strict=True, ge=1, le=4096)] = 128
    """Scaling numerator: the adapters' output is multiplied by alpha / rank. Default: 128."""
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0
    """Dropout probability of the adapters' inputs, from 0 to below 1. Default: 0."""


class Training(JobOptions):
    """The second stage: the student is trained on the teacher's answers, with the student prompt."""

    method: TrainingMethod = TrainingMethod.LORA
    """LoRA trains low-rank adapters and merges them into the model; Full trains all weights. Default: LoRA."""
    lora: Lora = Lora()
    """Settings of method LoRA; ignored otherwise."""
    epochs: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """Number of passes over the train rows. Default: 1."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 1
    """Training batch size. Default: 1."""
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.0003
    """Peak learning rate of the cosine schedule. Default: 0.0003."""
    warmup_steps: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 5
    """Number of steps of linear warm-up to the peak learning rate. Default: 5."""
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    """Weight decay of the AdamW optimiser. Default: 0.1."""
    max_length: Annotated[int, Field(strict=True, ge=16, le=1_048_576)] = 8192
    """Maximum length of a row, prompt and answer together, in tokens. A lower limit of the model itself applies as
    well. Longer rows are rejected and counted, never truncated. Default: 8192."""
    seed: Annotated[int, Field(strict=True, ge=0, le=4_294_967_295)] = 42
    """Random seed for shuffling and initialisation. Default: 42."""
