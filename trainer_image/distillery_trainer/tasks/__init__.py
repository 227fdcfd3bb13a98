"""What the teacher and the student are asked, and how replies are read: one module a task."""

from __future__ import annotations

from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.conversation import ConversationTask
from distillery_trainer.tasks.math import MathTask
from distillery_trainer.tasks.multiple_choice import MultipleChoiceTask
from distillery_trainer.tasks.nli import NliTask
from distillery_trainer.tasks.summarization import SummarizationTask
from distillery_trainer.tasks.task_definition import AnswerKind, TaskDefinition, Turn

__all__ = ["AnswerKind", "TaskDefinition", "Turn", "Unreadable", "for_task"]

_PROMPTS: tuple[type[TaskDefinition], ...] = (
    NliTask,
    MultipleChoiceTask,
    MathTask,
    SummarizationTask,
    ConversationTask,
)
TASK_DEFINITIONS: dict[Task, type[TaskDefinition]] = {prompt.task: prompt for prompt in _PROMPTS}


def task_for(config: RunConfig) -> TaskDefinition:
    """The prompts of the run's task."""
    return TASK_DEFINITIONS[config.task](config)
