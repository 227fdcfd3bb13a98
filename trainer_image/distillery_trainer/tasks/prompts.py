"""Which prompt a model gets for a row: the precedence of the teacher prompt and of the student prompt.

The user's own words (`prompts.instructions`, else the row's system message, else `prompts.student`) are part of both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from distillery_api.spec import Generation
from distillery_trainer.chat.delimiters import delimited
from distillery_trainer.data.pictures import with_pictures_of
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.data.tool_messages import with_tools

_INSTRUCTIONS = """\
The user's instructions for this task stand between the marks <instructions> and </instructions>. Follow what they say \
about the task and about the right answer. The form of your reply is the one described further below, even where they \
ask for another.
{instructions}"""

_RATIONALE = """\
Explain step by step what leads to the right answer to the task below. Reply with the explanation alone.

The task: {task}"""


def rationale_prompt(prompt: list[Message]) -> list[Message]:
    """The student prompt and the row as a second task, whose answer is the teacher's reasoning."""
    system, *turns = prompt if prompt[0]["role"] == "system" else [{"role": "system", "content": ""}, *prompt]
    return [{**system, "content": _RATIONALE.format(task=system["content"])}, *turns]


class Prompts(ABC):
    """The prompts of a task, each of which a prompt of the user's replaces."""

    generation: Generation

    @abstractmethod
    def default_student_prompt(self) -> str:
        """The task's own student prompt."""

    @abstractmethod
    def teacher_template(self, row: Row) -> list[Message]:
        """The row in the task's template for the teacher (chain of thought, chain of density), whose system prompt says
        in its first paragraph who the teacher is."""

    def reply_instruction(self) -> str:
        """What follows the user's instructions in the student prompt; may be empty. Default: the task's own student
        prompt."""
        return self.default_student_prompt()

    def completed(self, words: str) -> str:
        """A system message of the user's own with what no model can answer without. Default: as it is."""
        return words

    @property
    def has_teacher_template(self) -> bool:
        """Whether the teacher gets the task's template."""
        return self.generation.chain_of_thought or self.generation.chain_of_density

    def with_language(self, prompt: str) -> str:
        """The prompt with an instruction about the language added, if the task has one."""
        return prompt

    def teacher_messages(self, row: Row) -> list[Message]:
        """The row under the teacher prompt: what the teacher gets, and the base model for `baseTeacherPrompt`.

        `prompts.teacher`, else the task's template where chain of thought or chain of density is on, else what the
        student gets.
        """
        custom_prompt = self.generation.prompts.teacher
        if custom_prompt is not None:
            return with_system_prompt(self.with_language(self._after_instructions(custom_prompt)), row)
        if self.has_teacher_template:
            return _around_instructions(self.teacher_template(row), self._instructions(row))
        system, *turns = self.student_messages(row)
        return [{**system, "content": self.completed(system["content"])}, *turns]

    def student_messages(self, row: Row) -> list[Message]:
        """The row under the student prompt: what the student is trained on and served with."""
        return with_system_prompt(self.student_prompt(row), row)

    def student_prompt(self, row: Row | None = None) -> str:
        """`prompts.student`, else the row's own system message, else the task's default student prompt. With
        `prompts.instructions`: these, then `prompts.student` or the task's words about the reply.

        Without a row: the prompt for rows that have no system message of their own.
        """
        prompts, row_prompt = self.generation.prompts, row.system if row is not None else None
        if prompts.instructions:
            return self.with_language(self._after_instructions(prompts.student or self.reply_instruction()))
        row_prompt = self.completed(row_prompt) if row_prompt else None
        return self.with_language(prompts.student or row_prompt or self.default_student_prompt())

    def _after_instructions(self, prompt: str) -> str:
        """The prompt after `prompts.instructions`, if there are any."""
        return "\n\n".join(part for part in (self.generation.prompts.instructions, prompt) if part)

    def _instructions(self, row: Row) -> str | None:
        """The user's own words about the task; None where a row has been prepared with the task's own prompt."""
        prompts, default = self.generation.prompts, self.default_student_prompt()
        words = prompts.instructions or row.system or prompts.student
        return None if words in (default, self.with_language(default)) else words


def user_message(text: str, row: Row) -> Message:
    """A message whose text quotes the last one of the row, with the pictures of that."""
    return with_pictures_of({"role": "user", "content": text}, row.messages[-1:])


def with_system_prompt(prompt: str, row: Row) -> list[Message]:
    """The row's messages under this system prompt, in place of its own one."""
    turns = row.messages[1:] if row.messages[0]["role"] == "system" else row.messages
    return with_tools([{"role": "system", "content": prompt}, *turns], row.tools)


def _around_instructions(template: list[Message], instructions: str | None) -> list[Message]:
    """A teacher template with the user's instructions after its first paragraph."""
    if instructions is None:
        return template
    role, rest = template[0]["content"].split("\n\n", 1)
    block = _INSTRUCTIONS.format(instructions=delimited({"instructions": instructions}))
    return [{"role": "system", "content": f"{role}\n\n{block}\n\n{rest}"}, *template[1:]]
