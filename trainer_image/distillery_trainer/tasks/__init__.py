"""What the models are asked, how their replies are read, and what an answer is worth: one module per task.

Parsers of text that several tasks share belong in parsing/, measures of text in text/."""

from __future__ import annotations

from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.classification import ClassificationTask
from distillery_trainer.tasks.conversation import ConversationTask
from distillery_trainer.tasks.extraction import ExtractionTask
from distillery_trainer.tasks.math import MathTask
from distillery_trainer.tasks.multi_label import MultiLabelTask
from distillery_trainer.tasks.multiple_choice import MultipleChoiceTask
from distillery_trainer.tasks.nli import NliTask
from distillery_trainer.tasks.summarization import SummarizationTask
from distillery_trainer.tasks.task_definition import AnswerKind, AnswerOrigin, StudentTurn, TaskDefinition
from distillery_trainer.tasks.text import TextTask
from distillery_trainer.tasks.tool_calling import ToolCallingTask

__all__ = ["AnswerKind", "AnswerOrigin", "MultiLabelTask", "StudentTurn", "TaskDefinition", "Unreadable", "task_for"]

_DEFINITIONS: tuple[type[TaskDefinition], ...] = (
    NliTask,
    MultipleChoiceTask,
    ClassificationTask,
    MathTask,
    SummarizationTask,
    ConversationTask,
    TextTask,
    ExtractionTask,
    ToolCallingTask,
)
TASK_DEFINITIONS: dict[Task, type[TaskDefinition]] = {definition.task: definition for definition in _DEFINITIONS}


def task_for(config: RunConfig) -> TaskDefinition:
    """The definition of the run's task."""
    if config.data.multi_label:
        return MultiLabelTask(config)
    return TASK_DEFINITIONS[config.task](config)
