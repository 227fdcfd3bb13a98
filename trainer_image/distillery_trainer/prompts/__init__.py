"""What the teacher and the student are asked, and how replies are read: one module a task."""

from __future__ import annotations

from distillery_api.run import RunConfig
from distillery_api.spec import Task
from distillery_trainer.prompts.base import AnswerKind, TaskPrompt, Turn, Unreadable
from distillery_trainer.prompts.conversation import ConversationPrompt
from distillery_trainer.prompts.math import MathPrompt
from distillery_trainer.prompts.multiple_choice import MultipleChoicePrompt
from distillery_trainer.prompts.nli import NliPrompt
from distillery_trainer.prompts.summarization import SummarizationPrompt

__all__ = ["AnswerKind", "TaskPrompt", "Turn", "Unreadable", "for_task"]

_PROMPTS: tuple[type[TaskPrompt], ...] = (
    NliPrompt,
    MultipleChoicePrompt,
    MathPrompt,
    SummarizationPrompt,
    ConversationPrompt,
)
TASK_PROMPTS: dict[Task, type[TaskPrompt]] = {prompt.task: prompt for prompt in _PROMPTS}


def for_task(config: RunConfig) -> TaskPrompt:
    """The prompts of the run's task."""
    return TASK_PROMPTS[config.task](config)
