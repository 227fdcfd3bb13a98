"""How the student is served."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.spec.stage_options import StageOptions


class ServingMode(StrEnum):
    """Whether the student is served."""

    DEPLOYMENT = "Deployment"
    NONE = "None"


class ServingRuntime(StrEnum):
    """The server that answers for the student."""

    VLLM = "VLLM"
    TRANSFORMERS = "Transformers"


class Serving(StageOptions):
    """How the student is served."""

    mode: ServingMode = ServingMode.DEPLOYMENT
    """Deployment serves the student behind a Service of a stable name; None ends the run with the scores.
    Default: Deployment."""
    runtime: ServingRuntime = ServingRuntime.VLLM
    """VLLM needs a GPU (ask for it in resources); Transformers runs on a CPU. Default: VLLM."""
    replicas: Annotated[int, Field(strict=True, ge=0, le=1000)] = 1
    """Pods that serve. More than one needs a ReadWriteMany volume. Default: 1."""
