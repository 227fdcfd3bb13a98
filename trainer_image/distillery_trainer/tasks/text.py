"""Text: the answer to any instruction, in prose, SQL or code."""

from __future__ import annotations

import json
from typing import ClassVar

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import Task
from distillery_trainer.data.rows import Gold, Message, Row, known_answers
from distillery_trainer.parsing.json_replies import find_json, read_reasoning_field
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks.prompts import user_message
from distillery_trainer.tasks.prose import PROSE_TOKENS, ProseTask
from distillery_trainer.tasks.short_answer import chain_of_thought_prompt, delimited_item, reasoned_reply_schema
from distillery_trainer.tasks.task_definition import (
    CHAIN_OF_THOUGHT_TOKENS,
    AnswerKind,
    JsonSchema,
    single_user_message_problem,
)
from distillery_trainer.text.chrf_and_bleu import sentence_chrf

_KEY = "answer"
_RESULT_ALONE = "Reply with the result and nothing else."
_STUDENT_PROMPT = f"Do what the user's message asks for. {_RESULT_ALONE}"

_CHAIN_OF_THOUGHT = chain_of_thought_prompt(
    role="You are a careful assistant.",
    item="what the instructions are to be applied to or, where there are none, the request itself.",
    thinking="what is wanted, what must the result hold, and where is a mistake easily made?",
    conclusion="Conclude with the result: complete, and as it is wanted.",
    key=_KEY,
    answer="the result and nothing else, as a string",
)


class TextTask(ProseTask):
    """Rows with one user message each; the answer is the whole reply, whatever it is written in."""

    task: ClassVar[Task] = Task.TEXT
    metric: ClassVar[str] = "chrF"
    answer_kind: ClassVar[AnswerKind] = AnswerKind.TEXT

    @property
    def student_max_answer_tokens(self) -> int:
        """As long as the teacher's replies."""
        return self.generation.sampling.max_tokens or PROSE_TOKENS

    def default_student_prompt(self) -> str:
        """Whatever the row asks for."""
        return _STUDENT_PROMPT

    def reply_instruction(self) -> str:
        """What the instructions say is not all in the message, which may be what they are about."""
        return _RESULT_ALONE

    @property
    def default_max_tokens(self) -> int:
        """Maximum length of a reply to the teacher prompt, in tokens, with room for the reasoning."""
        return PROSE_TOKENS + (CHAIN_OF_THOUGHT_TOKENS if self.generation.chain_of_thought else 0)

    def teacher_template(self, row: Row) -> list[Message]:
        """Reasoning first, then the result; the row is delimited."""
        prompt = self.with_language(_CHAIN_OF_THOUGHT)
        return [{"role": "system", "content": prompt}, user_message(delimited_item(row.text), row)]

    @property
    def _asks_for_reasoning(self) -> bool:
        """Whether the teacher is asked for a reason and an answer. What a custom prompt asks for is not known."""
        return self.generation.chain_of_thought and self.generation.prompts.teacher is None

    def reply_schema(self) -> JsonSchema | None:
        """Reasoning and answer, if chain of thought is on."""
        text = {"type": "string"}
        return reasoned_reply_schema(_KEY, text) if self.generation.chain_of_thought else None

    def read_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The whole reply; with chain of thought, the answer of a structured one."""
        answer = _structured_answer(text) if self.generation.chain_of_thought else None
        return answer if isinstance(answer, Unreadable) else super().read_answer(answer or text, row_text)

    def read_teacher_answer(self, text: str, row_text: str) -> str | Unreadable:
        """The answer of a structured reply, if the teacher was asked for one."""
        if self._asks_for_reasoning and text.strip() and _structured_answer(text) is None:
            return Unreadable(RejectionReason.BAD_JSON, f'The reply is not a JSON object with "reason" and "{_KEY}".')
        return self.read_answer(text, row_text)

    def read_reasoning(self, text: str) -> str | None:
        """The reasoning of a structured reply."""
        return read_reasoning_field(text) if self.generation.chain_of_thought else None

    def score(self, answer: str, gold: Gold) -> float:
        """chrF against gold; with several gold answers, the best one."""
        return sentence_chrf(answer, known_answers(gold))

    def correct(self, answer: str, gold: Gold) -> bool:
        """Whether an answer is a gold answer, white space apart."""
        return " ".join(answer.split()) in (" ".join(known.split()) for known in known_answers(gold))

    def row_problem(self, row: Row) -> str | None:
        """One user message."""
        return single_user_message_problem(row, self.task)


def _structured_answer(text: str) -> str | Unreadable | None:
    """The answer of a reply that holds an object with reason and answer; None for any other reply."""
    found = find_json(without_reasoning(text), lambda value: isinstance(value, dict) and {"reason", _KEY} <= set(value))
    if not found:
        return None
    answers = {json.dumps(value[_KEY], default=str) for value in found}
    answer = found[0][_KEY]
    if len(answers) > 1 or not isinstance(answer, str):
        return Unreadable(RejectionReason.BAD_JSON, f'The reply\'s "{_KEY}" is not one string.')
    return answer.strip() or Unreadable(RejectionReason.EMPTY, f'The reply\'s "{_KEY}" is empty.')
