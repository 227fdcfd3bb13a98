"""The number that a reply states as its answer, among the other numbers of its working."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from distillery_trainer.parsing.numbers import words
from distillery_trainer.parsing.numbers.notation import mathematical
from distillery_trainer.parsing.numbers.plain import PLAIN, changes_value, number_at, parse

_IS = (
    r"(?:\s+(?:to\s+(?:the|this|your)\s+(?:question|problem|exercise)\s+)?(?:is|equals|would\s+be|must\s+be|"
    r"should\s+be|comes\s+to|es|est|ist|lautet|\u00e8|\u00e9|er|\u00e4r)\b(?:\s*:)?|\s*[:=])"
)
_STATEMENT = re.compile(
    rf"(?:\b(?:answer|solution|result|respuesta|r\u00e9ponse|resposta|risposta|antwort|ergebnis|svar)\b[\"'*_`]*{_IS}"
    r"|\u7b54\u6848(?:\u662f|\u4e3a|\u70ba|\s*:)|\u7b54\s*:|\u7b54\u3048\u306f|\uc815\ub2f5\uc740|\ub2f5\uc740"
    r"|\b\u043e\u0442\u0432\u0435\u0442\b\s*(?::|-)|\u0627\u0644\u0625\u062c\u0627\u0628\u0629(?:\s+\u0647\u064a|\s*:)"
    r"|####)"
    rf"(?:[\s\"'*_`:(\[{{]|{words.FILLER}\b)*+"
    r"|(?P<box>\\f?boxed\s*\{)",
    re.IGNORECASE,
)
_BOXED = re.compile(r"((?:[^{}\\]|\\(?!f?boxed)|\{[^{}]*\}){0,300}+)\}")
_END_OF_SENTENCE = re.compile(r"[.!?](?=\s|$|[\"')*])|[\n\u3002\uff01\uff1f]")
_MAX_SENTENCE = 300
"""Characters of a sentence that are read after or before a number."""
_MAX_STATEMENTS = 50
"""Answers that a reply may state; more are those of a reply that repeats itself."""
_RELATION = re.compile(r"[<>\u2264\u2265\u2260\u2248\u00b1~|\u2192\u21d2\u221d]")
_VARIABLE = re.compile(
    r"\d[A-Za-z]\b|(?<![A-Za-z])[b-hj-zB-HJ-Z\u0391-\u03c9](?![A-Za-z])"
    r"|\\(?:alpha|beta|gamma|delta|theta|phi|lambda|mu|omega)\b"
)
_OPERATOR = re.compile(r"[-+*\u00d7\u00f7\u00b7/^:\u221a]|\b(?:sin|cos|tan|log|ln|exp|sqrt|mod|plus|minus|times)\b")
_SEPARATOR = re.compile(r"[,;](?=\s)|\b(?:or|and|if|then|where|when|so)\b")
_MARKS = r"[\s\"'`*_(\[{:=\u201c]*"
_REPORTED = re.compile(
    rf"(?:\n[\s>\"'`*_(\[{{#]*+(?:[A-Za-z][A-Za-z ]{{0,40}}[:=])?|\b{words.RESULT_VERB}\s+(?:{words.FILLER}\s+)*)"
    r"[\s\"'`*_(\[{\u201c]*$"
)
_LIST_MARK = re.compile(r"\d{1,3}[.)]\s+\S")


@dataclass(frozen=True, slots=True)
class _Statement:
    literal: str | None
    """None where no plain number is stated."""
    start: int
    end: int


def stated_number(text: str) -> str | None:
    """The number that a reply gives as its answer, in canonical form; None where it gives none, or several.

    In this order: the last "answer is NUMBER", `\\boxed{NUMBER}` or "#### NUMBER", unless another one contradicts it;
    the result of the equation that the reply consists of; the only number, if the reply reports nothing else.
    """
    text = mathematical(text)
    matches = list(islice(_STATEMENT.finditer(text), _MAX_STATEMENTS + 1))
    if len(matches) > _MAX_STATEMENTS:
        return None
    statements = [found for match in matches if (found := _read(text, match))]
    if statements:
        return _last(text, statements)
    return _result_of_equation(text) or _reported_number(text)


def is_corrected(rest: str) -> bool:
    """Whether the text after an answer takes it back for another one."""
    if words.WITHDRAWAL.search(rest):
        return True
    return words.CORRECTION.search(rest) is not None and re.search(r"\d", rest) is not None


# --- statements


def _read(text: str, match: re.Match[str]) -> _Statement | None:
    """What is stated at one place; None where nothing with digits is."""
    if match["box"]:
        boxed = _BOXED.match(text, match.end())
        if boxed is None:
            return _Statement(None, match.start(), match.end())
        literal = parse(boxed[1]) or _value_of_clause(boxed[1].strip())
        is_whole = _stands_alone(text, match.start(), boxed.end())
        return _Statement(literal if is_whole else None, match.start(), boxed.end())
    sentence = _sentence(text, match.end())
    if not re.search(r"\d", sentence) or "\\boxed" in sentence or "\\fbox" in sentence:
        return None
    is_bullet = "\n" in match[0] and re.match(r"[-+] ", sentence)
    literal = None if is_bullet or _is_doubtful(text, match.start()) else _value_of_clause(sentence)
    return _Statement(literal, match.start(), match.end())


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether nothing around a box is part of its number, and nobody denies it."""
    before, after = _before(text, start), re.sub(r"^[ \t$)\]*]*(?=\S)", " ", text[end : end + _MAX_SENTENCE])
    if re.match(r"\s*(?:%|per ?cent\b)", after) or words.NEARLY.search(before):
        return False
    return not (_is_doubtful(text, start) or changes_value(after))


def _last(text: str, statements: list[_Statement]) -> str | None:
    """The last statement, if those that differ from it were taken back, and it is not."""
    last = statements[-1]
    for earlier, later in pairwise(statements):
        between = text[earlier.end : later.start]
        replaced = words.CORRECTION.search(between) or words.CORRECTION.search(_before(text, earlier.start))
        if earlier.literal != later.literal and not replaced:
            return None
    return None if is_corrected(text[last.end :]) else last.literal


def _is_doubtful(text: str, position: int) -> bool:
    """Whether the words before a statement make it another one's, a condition, or a denial."""
    return words.NOT_STATED.search(_before(text, position)) is not None


def _before(text: str, position: int) -> str:
    """The sentence before a position, up to it."""
    before = text[max(0, position - _MAX_SENTENCE) : position]
    return _END_OF_SENTENCE.split(before)[-1]


def _sentence(text: str, start: int) -> str:
    """The rest of the sentence from a position on."""
    end = _END_OF_SENTENCE.search(text, start, start + _MAX_SENTENCE)
    marked = end is not None and end[0] in "!?"
    return text[start : end.end() if end and marked else end.start() if end else start + _MAX_SENTENCE]


# --- equations


def _value_of_clause(clause: str) -> str | None:
    """The number that a clause starts with, or the result of its equation."""
    if found := number_at(clause, 0):
        return found[0]
    *left, result = re.split(r"=+", clause)
    if not left or _RELATION.search(clause) or _SEPARATOR.search("=".join(left)):
        return None
    if not (_is_left_side(left[0]) and _is_left_side(left[-1])):
        return None
    found = number_at(result, _skip_marks(result))
    return found[0] if found else None


def _is_left_side(left: str) -> bool:
    """Whether what stands before "=" is arithmetic or a name, and so equal to the result: not so 2x, or x + 3."""
    if words.DOUBT.search(left):
        return False
    return not (_VARIABLE.search(left) and (_OPERATOR.search(left) or re.search(r"\d\s?[A-Za-z]\b|\d\(", left)))


def _skip_marks(text: str) -> int:
    return re.match(_MARKS, text).end()  # type: ignore[union-attr] # matches every text


def _result_of_equation(text: str) -> str | None:
    """The result, if the reply is one equation."""
    clause = text.strip()
    is_sentence = "\n" not in clause and _sentence(clause, 0).rstrip("!") == clause.rstrip(".!")
    return _value_of_clause(clause[_skip_marks(clause) :]) if "=" in clause and is_sentence else None


# --- the only number


def _reported_number(text: str) -> str | None:
    """The number that a reply of a few words reports; None if it says anything else of it, or has several."""
    if words.DOUBT.search(text):
        return None
    reported = (_reported_at(text, start) for start in _starts_of_numbers(text))
    first = next(reported, None)
    return first if first is not None and all(other == first for other in reported) else None


def _starts_of_numbers(text: str) -> Iterator[int]:
    """Where the numbers of a text start, with their signs, except those in names (GPT-4) and units (m^2)."""
    for match in PLAIN.finditer(text):
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        if not re.match(r"[\w^.]", text[max(0, start - 1) : start]):
            yield start


def _reported_at(text: str, start: int) -> str | None:
    """The number that a sentence reports at a position, after a verb or at its start; None for any other."""
    before = _before(text, start)
    if not _REPORTED.search("\n" + before) or _LIST_MARK.match(text, start):
        return None
    is_first = not re.search(r"\w", before)
    found = number_at(text, start)
    return found[0] if found and (not is_first or _is_short(_sentence(text, found[1]))) else None


def _is_short(rest: str) -> bool:
    """Whether a sentence that starts with a number goes on with a unit alone."""
    return len(rest.split()) <= 4 or "answer" in rest
