"""A teacher that states log-probabilities of the small student's tokens, in OpenAI's form and, on demand, in vLLM's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from chat_logprobs import WrittenToken
from chat_protocol import Message
from chat_server import TeacherServer
from small_student import small_student
from teacher_server import GoldAnswers


class StudentTokens:
    """Divides texts as the small student's tokenizer does, or by another rule, and is `sure` of each token to the same
    degree; the rest is for one other."""

    def __init__(self, sure: float = 0.75, other: str = "ent", *, letters: bool = False) -> None:
        self._tokenizer = Tokenizer.from_file(str(small_student() / "tokenizer.json"))
        self._sure, self._other, self._letters = sure, other, letters

    def tokens(self, messages: Sequence[Message], text: str) -> list[WrittenToken]:
        """The tokens of a text."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        texts = list(text) if self._letters else [text[begin:end] for begin, end in offsets]
        return [WrittenToken(each, {each: self._sure, self._other: 1 - self._sure}) for each in texts]

    def id_of(self, token: str) -> int:
        """The student's id."""
        return self._tokenizer.encode(token, add_special_tokens=False).ids[0]


def logprobs_teacher(
    gold: Mapping[str, str], tokens: StudentTokens | None, *, scores_texts: bool = False, **server: Any
) -> TeacherServer:
    """A server in a thread that answers from gold, with log-probabilities where it has tokens."""
    teacher = TeacherServer(GoldAnswers(gold), **server)
    teacher.application.token_model, teacher.application.scores_texts = tokens, scores_texts
    return teacher
