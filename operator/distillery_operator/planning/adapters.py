"""A student as a LoRA adapter on a base model that is served with it (`serving.adapter: LoRA`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillery_api.paths import Workspace
from distillery_api.spec import AdapterMode, DistillationSpec, Task
from distillery_operator.planning.identity import digest

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class ServedAdapter:
    """An adapter, and what it is served on."""

    path: str
    """Its folder, relative to the workspace."""
    base: str
    """Folder of the base model, relative to the workspace."""
    rank: int

    @property
    def max_rank(self) -> int:
        """The rank that a server of it is started for: the next one that vLLM knows."""
        return next(each for each in _RANKS if each >= self.rank)


def planned_adapter(spec: DistillationSpec, train_folder: str) -> ServedAdapter | None:
    """The adapter that train makes in `train_folder`; None where the merged model is served."""
    base = base_folder(spec)
    if base is None:
        return None
    return ServedAdapter(str(Workspace(Path()).served_adapter(train_folder)), base, spec.training.adapter_rank)


def base_folder(spec: DistillationSpec) -> str | None:
    """The folder in the workspace of the base model that is served with adapters; None where there is none. A model
    that reasons before it answers, or that calls tools, has another chat template, and so another folder."""
    if spec.serving.adapter is AdapterMode.MERGED:
        return None
    tools = {"tools": spec.student.tool_format} if spec.task is Task.TOOL_CALLING else {}
    return f"base-{digest({'model': spec.student.model.uri, 'reasoning': spec.generation.keep_reasoning, **tools})}"
