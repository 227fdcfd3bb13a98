"""Strings of 64 KB that make careless parsers slow, and everything that reads a text of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from distillery_api.comparable import label_key
from distillery_trainer.chat.delimiters import delimited
from distillery_trainer.chat.waiting_times import seconds_until
from distillery_trainer.data.rows import Row
from distillery_trainer.filters import minhash
from distillery_trainer.filters.redaction import Redactor
from distillery_trainer.parsing.code_fences import only_fenced
from distillery_trainer.parsing.code_syntax import json_problem, sql_problem
from distillery_trainer.parsing.json_replies import read_json_field
from distillery_trainer.parsing.labels import LabelParser
from distillery_trainer.parsing.last_json import last_json_object
from distillery_trainer.parsing.options import find_options
from distillery_trainer.parsing.reasoning import split_reasoning
from distillery_trainer.parsing.tool_calls import read_calls
from distillery_trainer.text import chrf_and_bleu, entities, faithfulness, languages, rouge, words
from distillery_trainer.text.plain_values import plain_value
from task_definitions import run_config, task_definition

LENGTH = 64 * 1024

_PIECES = {
    "digits": "1",
    "digits and commas": "1,",
    "digits and points": "1.",
    "digits and spaces": "123 ",
    "fractions": "1/",
    "opening brackets": "[",
    "opening braces": "{",
    "nested objects": '{"a":',
    "nested lists": '[{"a":[',
    "round brackets": "((",
    "closing brackets": ")]}",
    "quotes": '"',
    "apostrophes": "'",
    "quoted quotes": '\\"',
    "backslashes": "\\",
    "backticks": "`",
    "code fences": "```\n",
    "spaces": " ",
    "spaces and a letter": f"{' ' * 500}x",
    "line breaks": "\n",
    "carriage returns": "\r\n",
    "tabs": "\t",
    "list marks": "1. ",
    "list lines": "1. a\n",
    "options": "A. a\nB. b\n",
    "emphasis": "*",
    "emphasised letters": "**A** ",
    "underscores": "_a",
    "opened reasoning": "<think>",
    "closed reasoning": "</think>",
    "quoted reasoning": "`</think>` ",
    "channels": "<|channel|>analysis",
    "tags": "<a ",
    "item marks": "</item",
    "angle brackets": "<",
    "URL pieces": "http://a.",
    "URL without an end": "www.a-",
    "domains": "a.b.",
    "at signs": "@",
    "e-mail pieces": "a@b.",
    "phone pieces": "+49 170 ",
    "IP pieces": "1.2.3.",
    "colons": "::",
    "commas": ",",
    "negations": "not ",
    "negated labels": "not neutral, ",
    "labels": "neutral ",
    "letters": "A ",
    "letters in brackets": "(A) ",
    "statements": "the answer is A or ",
    "questions": "is it A? ",
    "premises": "premise: a ",
    "hypotheses": "premise: a hypothesis ",
    "combining marks": "\u0301\u0323",
    "letters with marks": "a\u0301\u0316",
    "invisible characters": "\u200b",
    "letters and invisible characters": "a\u200b",
    "Chinese": "\u4e2d\u7acb",
    "Chinese negations": "\u4e0d\u662f",
    "Thai": "\u0e44\u0e21\u0e48",
    "emoji": "\U0001f469\u200d",
    "full-width letters": "\uff21",
    "dollars": "$",
    "fractions of LaTeX": "\\frac{",
    "boxes": "\\boxed{",
    "text of LaTeX": "\\text{",
    "powers": "2^",
    "exponents": "1e",
    "minus signs": "-",
    "plus and minus": "+-",
    "hours": "1h",
    "durations": "1m1s",
    "words": "a b ",
    "long word": "a",
}
STRINGS = {name: (piece * (LENGTH // len(piece) + 1))[:LENGTH] for name, piece in _PIECES.items()}
"""By what they are made of."""

_NLI = task_definition("NLI", ("entailment", "neutral", "contradiction", "not neutral"))
_OBJECTS = task_definition(
    "Extraction",
    schema={
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$|."}, "b": {"type": "array", "uniqueItems": True}},
    },
)
_MATH = task_definition("Math")
_LETTERS = task_definition("MultipleChoice")
_CHOICES = "Which?\nA. one\nB. two\nC. three"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _row(text: str) -> Row:
    return Row("train", 1, "x", [{"role": "user", "content": text}])


def _minhash(text: str) -> None:
    builder = minhash.SignatureBuilder()
    builder.add(text, "")
    builder.matrix()


def _redactor(*kinds: str) -> Redactor:
    return Redactor(run_config("NLI", redaction={"kinds": list(kinds)}))


PARSERS: Mapping[str, Callable[[str], object]] = {
    "label in a reply": lambda text: _NLI.read_answer(text, ""),
    "label of signs in a reply": LabelParser(("A", "A*", "++", "-1", "\u4e2d\u7acb"), "answer_choice").read,
    "option in a reply": lambda text: _LETTERS.read_answer(text, _CHOICES),
    "number in a reply": lambda text: _MATH.read_answer(text, ""),
    "object in a reply": lambda text: _OBJECTS.read_answer(text, ""),
    "object with a long text": lambda text: _OBJECTS.read_answer(json.dumps({"a": text, "b": [text[:99]]}), ""),
    "calls in a reply": read_calls,
    "calls between marks in a reply": lambda text: read_calls(f"<tool_call>{text}</tool_call>"),
    "value of a field": plain_value,
    "JSON of a reply": lambda text: read_json_field(text, "answer"),
    "options of a row": find_options,
    "comparison of labels": label_key,
    "reasoning": split_reasoning,
    "premise of a row": lambda text: _NLI.split_group(_row(text)),
    "words": words.words,
    "word count": words.word_count,
    "chrF": lambda text: chrf_and_bleu.sentence_chrf(text, [text[::-1]]),
    "code fences": only_fenced,
    "JSON of an answer": json_problem,
    "SQL of an answer": lambda text: sql_problem(text[: LENGTH // 8], None),
    "ROUGE": lambda text: rouge.scores(text, [text[::-1]]),
    "phrases (MinHash)": _minhash,
    "language": languages.detect,
    "names in the source": lambda text: entities.is_mentioned("The Hague", words.words(text)),
    "numbers in the source": lambda text: faithfulness.numbers_not_in_source(text, text[: LENGTH // 2]),
    "delimiters": lambda text: delimited({"item": text}),
    "reset headers": lambda text: seconds_until(text, _NOW),
    "last JSON of a judge": lambda text: last_json_object(text, "verdict"),
    "redaction": _redactor("EmailAddress", "IPAddress", "CreditCard", "BankAccount", "URL").redact_text,
}
"""What reads rows, replies and headers. The numbers of telephones are not among it: their library takes two seconds."""
