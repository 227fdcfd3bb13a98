"""What the tasks with a short answer share: one user message per row, and a chain of thought that may lead to the
answer."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from distillery_trainer.chat.delimiters import neutralised_delimiters
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.parsing.json_replies import read_reasoning_field
from distillery_trainer.tasks.prompts import user_message
from distillery_trainer.tasks.task_definition import JsonSchema, TaskDefinition, single_user_message_problem

# What is the same for all rows comes before the row, so that a server can cache it.
_TEMPLATE = """\
{role}

Each request holds one item between the marks <item> and </item>: {item}

Work in this order:
1. Reason step by step, in at most 80 words: {thinking}
2. {conclusion}

Reply with a single JSON object that has exactly these two keys, in this order:
"reason": your reasoning, as a string
"{key}": {answer}

Write nothing before or after the object and put no code fence around it. The reply must be valid JSON: double quotes \
around keys and strings, and quotes inside a string escaped."""

_ITEM = "<item>\n{text}\n</item>"
_neutralised = neutralised_delimiters("item")


def delimited_item(text: str) -> str:
    """A row's content as data between delimiters that the content itself cannot close."""
    return _ITEM.format(text=_neutralised(text))


def chain_of_thought_prompt(*, role: str, item: str, thinking: str, conclusion: str, key: str, answer: str) -> str:
    """The teacher prompt of a task: what is asked, what to consider, how to conclude."""
    return _TEMPLATE.format(role=role, item=item, thinking=thinking, conclusion=conclusion, key=key, answer=answer)


def reasoned_reply_schema(key: str, answer: JsonSchema) -> JsonSchema:
    """The schema of a reply to that prompt; `answer` is the schema of the answer."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, key: answer},
        "required": ["reason", key],
        "additionalProperties": False,
    }


class ShortAnswerTask(TaskDefinition):
    """A task whose rows have one user message, and whose structured reply has the answer in one field."""

    answer_key: ClassVar[str]

    @abstractmethod
    def teacher_template_prompt(self) -> str:
        """The system prompt of the chain-of-thought template, the same for all rows."""

    @abstractmethod
    def answer_schema(self) -> JsonSchema:
        """JSON schema of the answer."""

    @abstractmethod
    def gold_problem(self, gold: str, row: Row) -> str | None:
        """What is wrong with a gold answer, as a sentence; None for a valid one."""

    def teacher_template(self, row: Row) -> list[Message]:
        """Reasoning first, then the answer; the row is delimited as data."""
        return [
            {"role": "system", "content": self.teacher_template_prompt()},
            user_message(delimited_item(row.text) + self.row_note(row), row),
        ]

    def row_note(self, row: Row) -> str:
        """What the teacher must know about a row beyond its text."""
        return ""

    def reply_schema(self) -> JsonSchema | None:
        """Reasoning and answer, if chain of thought is on."""
        if not self.generation.chain_of_thought:
            return None
        return reasoned_reply_schema(self.answer_key, self.answer_schema())

    def read_reasoning(self, text: str) -> str | None:
        """The reasoning of a structured reply."""
        return read_reasoning_field(text)

    def row_problem(self, row: Row) -> str | None:
        """One user message, and gold that is a possible answer."""
        return single_user_message_problem(row, self.task) or next(
            (rule for gold in row.known_answers if (rule := self.gold_problem(gold, row))), None
        )
