"""Which prompt a model gets for a row: the precedence of the teacher prompt and of the student prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillery_trainer.data.records import Example, Message

if TYPE_CHECKING:
    from distillery_trainer.tasks.task_definition import TaskDefinition


def teacher_messages(task: TaskDefinition, example: Example) -> list[Message]:
    """The row under the teacher prompt: `prompts.teacher`, else the task's template where chain of thought or chain of
    density is on, else what the student gets."""
    custom_prompt = task.generation.prompts.teacher
    if custom_prompt is not None:
        return with_system_prompt(task.with_language(custom_prompt), example)
    if task.generation.chain_of_thought or task.generation.chain_of_density:
        return task.teacher_template(example)
    return task.student_messages(example)


def student_messages(task: TaskDefinition, example: Example) -> list[Message]:
    """The row under the student prompt."""
    return with_system_prompt(student_prompt(task, example), example)


def student_prompt(task: TaskDefinition, example: Example | None = None) -> str:
    """`prompts.student`, else the row's own system message, else the task's default student prompt.

    Without an example: the prompt for rows that have no system message of their own.
    """
    row_prompt = example.system if example is not None else None
    return task.with_language(task.generation.prompts.student or row_prompt or task.default_student_prompt())


def with_system_prompt(prompt: str, example: Example) -> list[Message]:
    """The row's messages under this system prompt, in place of its own one."""
    turns = example.messages[1:] if example.messages[0]["role"] == "system" else example.messages
    return [{"role": "system", "content": prompt}, *turns]
