"""Tasks and held-out rows for tests of the scores, without a stage and without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import HeldOutRow
from distillery_trainer.tasks import TaskDefinition, task_for


def evaluate_config(task: str, labels: Sequence[str] = (), **more: Any) -> RunConfig:
    """The config of an evaluate stage; `generation` and `evaluation` are among `more`."""
    teacher = {"name": "oracle", "endpoint": "http://127.0.0.1:1/v1", "model": "oracle"}
    return RunConfig.model_validate(
        {
            "stage": "evaluate",
            "name": "test",
            "folder": "evaluate-0123456789",
            "task": task,
            "labels": list(labels),
            "data": {split: {"uri": f"{split}.jsonl"} for split in ("train", "validation")},
            "student": {"model": {"uri": "model"}},
            "training": {},
            **more,
            "generation": {"teachers": [teacher], **more.get("generation", {})},
        }
    )


def task_definition(task: str, labels: Sequence[str] = (), **generation: Any) -> TaskDefinition:
    """The task definition of an evaluate stage."""
    return task_for(evaluate_config(task, labels, generation=generation))


def held_out(text: str, gold: str | list[str] | None = None, answer: str | None = None, **changes: Any) -> HeldOutRow:
    """A held-out row, with the teacher's answer where there is one."""
    row = {
        "id": text,
        "studentPrompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
        "teacherPrompt": [{"role": "system", "content": "Think first."}, {"role": "user", "content": text}],
        "gold": gold,
        "reply": answer,
        "answer": answer,
        "reason": None if answer else "timeout",
        "inputTokens": 30,
        "outputTokens": 6,
        "latencySeconds": 0.4,
        "fromValidation": False,
    }
    return HeldOutRow(**{**row, **changes})
