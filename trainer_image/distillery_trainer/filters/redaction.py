"""Redaction: personal data is replaced by placeholders before a row is sent to the teacher.

Addresses and numbers are found by the pattern recognisers of presidio-analyzer, which need no model; names of people by
the installed spaCy models. Within a row, each value has one placeholder: [EMAIL_ADDRESS], the next value
[EMAIL_ADDRESS_2].
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.picture_parts import PICTURE_MARK
from distillery_api.spec import PersonalData
from distillery_trainer.data.known_calls import KnownCalls
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.data.tool_calls import read_written
from distillery_trainer.runtime.errors import UserError

_MIN_SCORE = 0.3
"""Findings with a lower score are ignored: a recogniser takes any "::" for an IP address, for example."""
_PERSON_LABELS = ("PERSON", "PER")
_RECOGNISERS = {
    PersonalData.EMAIL_ADDRESS: "EmailRecognizer",
    PersonalData.PHONE_NUMBER: "PhoneRecognizer",
    PersonalData.IP_ADDRESS: "IpRecognizer",
    PersonalData.CREDIT_CARD: "CreditCardRecognizer",
    PersonalData.BANK_ACCOUNT: "IbanRecognizer",
    PersonalData.URL: "UrlRecognizer",
}


_ANY_DOMAIN = r"[a-z0-9.\-]{1,253}[.]"
_WHOLE_DOMAIN = r"(?<![a-z0-9\-])(?<![a-z0-9\-][.])(?:[a-z0-9\-]+[.]){1,127}(?=[a-z])"
"""What the library has before the ending of a domain, and what takes its position: as many labels as a domain has."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A part of a text that is personal data."""

    start: int
    end: int
    kind: PersonalData


Detector = Callable[[str], Iterable[Finding]]


class Redactor:
    """Replaces personal data in rows. Raises UserError if a required library or model is not installed."""

    def __init__(self, config: RunConfig) -> None:
        redaction = config.generation.redaction
        self._detectors = [_detector(kind) for kind in redaction.kinds] if redaction else []

    def redact(self, row: Row) -> Row:
        """The row with placeholders for personal data, in its messages, its reply and its gold."""
        if not self._detectors:
            return row
        placeholders = Placeholders()
        messages: list[Message] = [self._redact_message(message, placeholders) for message in row.messages]
        reply = None if row.reply is None else self._redact_answer(row.reply, placeholders)
        return replace(row, messages=messages, reply=reply, gold=self._redact_gold(row.gold, placeholders))

    def _redact_message(self, message: Message, placeholders: Placeholders) -> Message:
        # The marks of pictures stay, whatever is found around them.
        texts = message["content"].split(PICTURE_MARK) if "pictures" in message else [message["content"]]
        content = PICTURE_MARK.join(self.redact_text(text, placeholders) for text in texts)
        redacted: Message = {**message, "content": content}
        if "tool_calls" in message:
            redacted["tool_calls"] = self._redact_value(message["tool_calls"], placeholders)
        return redacted

    def _redact_value(self, value: Any, placeholders: Placeholders) -> Any:
        """A value of JSON with placeholders in its texts."""
        if isinstance(value, str):
            return self.redact_text(value, placeholders)
        if isinstance(value, list):
            return [self._redact_value(item, placeholders) for item in value]
        if isinstance(value, dict):
            return {key: self._redact_value(item, placeholders) for key, item in value.items()}
        return value

    def _redact_gold(self, gold: str | list[str] | None, placeholders: Placeholders) -> str | list[str] | None:
        if gold is None or isinstance(gold, str):
            return gold and self._redact_answer(gold, placeholders)
        return [self._redact_answer(answer, placeholders) for answer in gold]

    def _redact_answer(self, answer: str, placeholders: Placeholders) -> str:
        """An answer with placeholders; one of calls stays JSON."""
        if read_written(answer) is None and not KnownCalls.read(answer).calls:
            return self.redact_text(answer, placeholders)
        return str(orjson.dumps(self._redact_value(orjson.loads(answer), placeholders)).decode())

    def redact_text(self, text: str, placeholders: Placeholders | None = None) -> str:
        """The text with placeholders for personal data; `placeholders` are those already used in the row."""
        placeholders = placeholders or Placeholders()
        pieces, end = [], 0
        for found in _without_overlaps([found for detector in self._detectors for found in detector(text)]):
            pieces += [text[end : found.start], placeholders.of(found.kind, text[found.start : found.end])]
            end = found.end
        return "".join([*pieces, text[end:]])


class Placeholders:
    """The placeholders of one row."""

    def __init__(self) -> None:
        self._numbers: dict[PersonalData, dict[str, int]] = {}

    def of(self, kind: PersonalData, value: str) -> str:
        """The placeholder of a value; case and white space do not matter."""
        numbers = self._numbers.setdefault(kind, {})
        number = numbers.setdefault("".join(value.split()).casefold(), len(numbers) + 1)
        return f"[{kind.name}]" if number == 1 else f"[{kind.name}_{number}]"


def _without_overlaps(found: Sequence[Finding]) -> list[Finding]:
    """The findings without overlaps, in order; of two that overlap the longer one is kept."""
    kept: list[Finding] = []
    for one in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        position = bisect_right(kept, one.start, key=lambda other: other.start)
        if all(one.end <= other.start or other.end <= one.start for other in kept[max(0, position - 1) : position + 1]):
            kept.insert(position, one)
    return kept


# --- detectors


def _detector(kind: PersonalData) -> Detector:
    try:
        if kind is PersonalData.PERSON:
            return partial(_find_people, _person_models())
        return partial(_find_with_recogniser, _recogniser(_RECOGNISERS[kind]), kind)
    except ImportError as error:
        raise UserError(
            f"generation.redaction needs {error.name}, which is not installed. Run pip install --constraint"
            " constraints.txt '.[redaction]' in a checkout of Distillery, or use an image that includes it.",
            reason=Reason.INVALID_SPEC,
        ) from error


def _recogniser(name: str) -> Any:
    from presidio_analyzer import predefined_recognizers

    recogniser = getattr(predefined_recognizers, name)()
    if name == "EmailRecognizer":
        from tldextract import TLDExtract

        # By default it would download the list of domains when the first address is found.
        known_domains = TLDExtract(cache_dir=None, suffix_list_urls=())
        recogniser.validate_result = lambda text: known_domains(text).fqdn != ""
    if name == "UrlRecognizer":
        _start_domains_once(recogniser)
    return recogniser


def _start_domains_once(recogniser: Any) -> None:
    """Let the patterns of addresses begin only where a domain can: from each of its characters, the library tries all
    1,400 endings, and after a minute it gives up and leaves the address in the text."""
    for pattern in recogniser.patterns:
        pattern.regex, pattern.compiled_regex = pattern.regex.replace(_ANY_DOMAIN, _WHOLE_DOMAIN), None


def _find_with_recogniser(recogniser: Any, kind: PersonalData, text: str) -> Iterator[Finding]:
    for result in recogniser.analyze(text, recogniser.supported_entities):
        if result.score >= _MIN_SCORE:
            yield Finding(result.start, result.end, kind)


def _person_models() -> list[Any]:
    """The installed models that find names of people."""
    import spacy

    models = [spacy.load(name) for name in spacy.util.get_installed_models()]
    found = [model for model in models if set(_PERSON_LABELS) & set(_labels(model))]
    if found:
        return found
    raise UserError(
        "generation.redaction.kinds: Person needs a spaCy model that finds names, but none is installed. Install one,"
        " such as en_core_web_sm, or remove Person.",
        reason=Reason.INVALID_SPEC,
    )


def _labels(model: Any) -> Iterator[str]:
    for name in ("ner", "entity_ruler"):
        if model.has_pipe(name):
            yield from model.get_pipe(name).labels


def _find_people(models: Sequence[Any], text: str) -> Iterator[Finding]:
    for model in models:
        for entity in model(text).ents:
            if entity.label_ in _PERSON_LABELS:
                yield Finding(entity.start_char, entity.end_char, PersonalData.PERSON)
