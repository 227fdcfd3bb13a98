"""The definition of a task, and rows, from a few fields, for tests."""

from __future__ import annotations

from typing import Any

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Row
from distillery_trainer.tasks import TaskDefinition, task_for

NLI_LABELS = ("entailment", "neutral", "contradiction")


def task_definition(task: str, labels: tuple[str, ...] = (), **generation: Any) -> TaskDefinition:
    """The task definition of a run with these fields of `generation`."""
    return task_for(run_config(task, labels, **generation))


def run_config(task: str, labels: tuple[str, ...] = (), **generation: Any) -> RunConfig:
    """The configuration of a generate stage with these fields of `generation`."""
    teacher = {"name": "tester", "endpoint": "http://127.0.0.1:9/v1", "model": "teacher"}
    config = {
        "stage": "generate",
        "name": "test",
        "folder": "generate-0",
        "task": task,
        "labels": labels,
        "data": {"train": {"uri": "train.jsonl"}, "validation": {"uri": "validation.jsonl"}},
        "generation": {"teachers": [teacher], **generation},
        "student": {"model": {"uri": "model"}},
        "training": {},
    }
    return RunConfig.model_validate(config)


def new_row(*texts: str, system: str | None = None, gold: str | list[str] | None = None) -> Row:
    """A row of these messages, the user's first and last."""
    roles = ("user", "assistant")
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    return Row("train", 1, "train-1", messages, gold)
