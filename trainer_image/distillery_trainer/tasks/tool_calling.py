"""Tool calling: which of the row's tools to call, with which arguments, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import orjson

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import Task
from distillery_trainer.data.known_calls import KnownCalls
from distillery_trainer.data.rows import Gold, Message, Row, known_answers
from distillery_trainer.data.tool_calls import Call, Tool, numbered, read_written, written
from distillery_trainer.data.tool_messages import tools_of
from distillery_trainer.data.tool_schemas import argument_problem, by_name
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.tool_calls import read_calls
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.task_definition import AnswerKind, JsonSchema, StudentTurn, TaskDefinition
from distillery_trainer.text.matching_calls import compare

_STUDENT_PROMPT = """\
Answer with the help of the tools. Call every function that the request needs, with the values that it gives. If no \
function fits, call none and answer in words."""
_CALL_TOKENS = 512
"""Default maximum length of a reply, in tokens."""
_NO_CALL = "no call"
"""All answers in words are the same answer in a majority vote."""


class ToolCallingTask(TaskDefinition):
    """Rows with tools, of one turn or many. An answer is the text of the calls as `written` writes it, or words.

    The teacher answers every assistant turn anew, each after the row's own messages before it: results belong to the
    calls that were made.
    """

    task: ClassVar[Task] = Task.TOOL_CALLING
    reads_pictures: ClassVar[bool] = False
    answer_kind: ClassVar[AnswerKind] = AnswerKind.CALLS

    # --- asking

    def default_student_prompt(self) -> str:
        """Call what is needed."""
        return _STUDENT_PROMPT

    def teacher_template(self, row: Row) -> list[Message]:
        """The student prompt: tools describe themselves."""
        return self.student_messages(row)

    def next_request(self, row: Row, answers: Sequence[str]) -> list[Message] | None:
        """The next assistant turn of the row."""
        turns = _turns(row)
        return self.teacher_messages(turns[len(answers)]) if len(answers) < len(turns) else None

    def student_turns(self, row: Row, answers: Sequence[str]) -> list[StudentTurn]:
        """Every assistant turn."""
        return [self._student_turn(turn, answer) for turn, answer in zip(_turns(row), answers, strict=False)]

    def _student_turn(self, row: Row, answer: str) -> StudentTurn:
        earlier = sum(len(message.get("tool_calls", ())) for message in row.messages)
        calls = numbered(read_written(answer) or (), earlier)
        return StudentTurn(self.student_messages(row), "" if calls else answer, tool_calls=calls)

    @property
    def default_max_tokens(self) -> int:
        """Room for several calls."""
        return _CALL_TOKENS

    @property
    def student_max_answer_tokens(self) -> int:
        """As long as the teacher's replies."""
        return self.generation.sampling.max_tokens or _CALL_TOKENS

    def reply_schema(self) -> JsonSchema | None:
        """None: each tool has a schema of its own."""
        return None

    # --- reading

    def read_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The calls, or the whole reply where it makes none."""
        calls = read_calls(text)
        if isinstance(calls, Unreadable):
            return calls
        answer = written(calls) if calls else without_reasoning(text).strip()
        return answer or Unreadable(RejectionReason.EMPTY, "The reply is empty.")

    def unsuitable(self, answer: str, messages: Sequence[Message]) -> Unreadable | None:
        """A call of something that is no tool of the conversation, or whose arguments do not fit its schema."""
        return calls_problem(read_written(answer) or (), tools_of(messages))

    def vote_key(self, answer: str) -> str:
        """The calls in any order, with 2 for 2.0."""
        calls = read_written(answer)
        if calls is None:
            return _NO_CALL
        keys = sorted(orjson.dumps([call.name, _plain(call.arguments)], option=orjson.OPT_SORT_KEYS) for call in calls)
        return b", ".join(keys).decode()

    # --- judging

    def score(self, answer: str, gold: Gold) -> float:
        """1 if functions and arguments are those of gold, else 0."""
        calls = read_written(answer) or []
        return float(any(compare(calls, KnownCalls.read(known)).right for known in known_answers(gold)))

    # --- the rows

    def row_problem(self, row: Row) -> str | None:
        """Tools, and gold that calls them."""
        if not row.tools:
            return f'a row of the task {self.task} has tools; add "tools", or remove the row'
        for gold in row.known_answers:
            if problem := calls_problem(KnownCalls.read(gold).calls, row.tools):
                return f"gold: {problem.message}"
        return None

    def split_group(self, row: Row) -> str:
        """The dialogue, identified by its first user message: several rows may be parts of one."""
        opening = next(message["content"] for message in row.messages if message["role"] == "user")
        return " ".join(opening.split()).casefold()


def calls_problem(calls: Sequence[Call], tools: Sequence[Tool]) -> Unreadable | None:
    """The first call that cannot be carried out; None if all can."""
    known = by_name(tools)
    for call in calls:
        if call.name not in known:
            message = f'The function "{call.name}" is not one of the tools ({", ".join(known)}).'
            return Unreadable(RejectionReason.UNKNOWN_FUNCTION, message)
        if problem := argument_problem(call, known[call.name]):
            return Unreadable(RejectionReason.BAD_ARGUMENTS, f"The arguments do not fit the schema: {problem}.")
    return None


def _turns(row: Row) -> list[Row]:
    """The row up to each assistant turn, the one after its last message included."""
    ends = [index for index, message in enumerate(row.messages) if message["role"] == "assistant"]
    return [replace(row, messages=row.messages[:end]) for end in (*ends, len(row.messages))]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value) if abs(value) < 2**53 else value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
