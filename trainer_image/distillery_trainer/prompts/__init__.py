"""What the teacher and the student are asked, and how replies are read: one module a task."""

from __future__ import annotations

from distillery_api.run import RunConfig
from distillery_api.spec import Task
from distillery_trainer.prompts.base import TaskPrompt, Turn, Unreadable
from distillery_trainer.prompts.nli import NliPrompt

__all__ = ["TaskPrompt", "Turn", "Unreadable", "for_task"]

TASK_PROMPTS: dict[Task, type[TaskPrompt]] = {Task.NLI: NliPrompt}


def for_task(config: RunConfig) -> TaskPrompt:
    """The prompts of the run's task."""
    return TASK_PROMPTS[config.task](config)
