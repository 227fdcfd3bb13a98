"""The log-probabilities of a teacher that samples: those with which it draws its answers, by the student's tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from tokenizers import Tokenizer

from chat_logprobs import WrittenToken
from chat_protocol import Message


class AnswerTokens:
    """Divides replies as the student's tokenizer does. All tokens but those of the answer are certain."""

    def __init__(self, tokenizer: str, probabilities: Callable[[Sequence[Message]], Mapping[str, float]]) -> None:
        """`tokenizer` is the student's tokenizer.json; `probabilities` are those of the answers to a request."""
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._probabilities = probabilities

    def tokens(self, messages: Sequence[Message], text: str) -> list[WrittenToken]:
        """The tokens of a reply."""
        answers = dict(self._probabilities(messages))
        span = _last_answer(text, answers)
        divided = self._divided(text)
        if span is None:
            return [WrittenToken(each, {each: 1.0}) for each, _, _ in divided]
        begin, end = span
        answers.setdefault(text[begin:end], 1e-6)
        written = {answer: self._answer_tokens(text[:begin], answer, text[end:]) for answer in answers}
        own = written[text[begin:end]]
        first = next((number for number, (_, _, until) in enumerate(divided) if until > begin), len(divided))
        result = [WrittenToken(each, {each: 1.0}) for each, _, _ in divided]
        for number in range(len(own)):
            result[first + number] = _conditional(own, number, written, answers)
        return result

    def _divided(self, text: str) -> list[tuple[str, int, int]]:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return [(text[begin:end], begin, end) for begin, end in offsets]

    def _answer_tokens(self, before: str, answer: str, after: str) -> list[str]:
        begin, end = len(before), len(before) + len(answer)
        return [each for each, start, until in self._divided(before + answer + after) if start < end and until > begin]

    def id_of(self, token: str) -> int:
        """The student's id."""
        return int(self._tokenizer.encode(token, add_special_tokens=False).ids[0])


def _last_answer(text: str, answers: Mapping[str, float]) -> tuple[int, int] | None:
    """Where the last of the answers in a reply stands."""
    spans = [match.span() for answer in answers for match in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", text)]
    return max(spans, key=lambda span: (span[1], -span[0]), default=None)


def _conditional(
    own: Sequence[str], number: int, written: Mapping[str, Sequence[str]], answers: Mapping[str, float]
) -> WrittenToken:
    """A token of the answer, given those before it."""
    likely: dict[str, float] = {}
    for answer, tokens in written.items():
        if list(tokens[:number]) == list(own[:number]) and number < len(tokens):
            likely[tokens[number]] = likely.get(tokens[number], 0.0) + answers[answer]
    total = sum(likely.values())
    ordered = sorted(likely.items(), key=lambda item: -item[1])
    return WrittenToken(own[number], {text: value / total for text, value in ordered})
