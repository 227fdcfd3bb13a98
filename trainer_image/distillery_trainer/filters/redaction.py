"""Personal data is replaced by marks before a row leaves.

Addresses and numbers are found by the pattern recognisers of presidio-analyzer, which need no model; names of people by
the spaCy models that are installed. Within a row, one value has one mark: [EMAIL_ADDRESS], the next one
[EMAIL_ADDRESS_2].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.spec import PersonalData
from distillery_trainer.data.records import Example, Message
from distillery_trainer.runtime.errors import UserError

_LEAST_SCORE = 0.3
"""What a recogniser is less sure of is no find: it takes any "::" for an address."""
_PEOPLE = ("PERSON", "PER")
_RECOGNISERS = {
    PersonalData.EMAIL_ADDRESS: "EmailRecognizer",
    PersonalData.PHONE_NUMBER: "PhoneRecognizer",
    PersonalData.IP_ADDRESS: "IpRecognizer",
    PersonalData.CREDIT_CARD: "CreditCardRecognizer",
    PersonalData.BANK_ACCOUNT: "IbanRecognizer",
    PersonalData.URL: "UrlRecognizer",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a text that is personal data."""

    start: int
    end: int
    kind: PersonalData


Detector = Callable[[str], Iterable[Found]]


class Redactor:
    """Takes personal data out of rows. Raises UserError where what finds it is not installed."""

    def __init__(self, config: RunConfig) -> None:
        redaction = config.generation.redaction
        self._detectors = [_detector(kind) for kind in redaction.kinds] if redaction else []

    def redact(self, example: Example) -> Example:
        """The row with marks in place of personal data, in its messages, its answer and its gold."""
        if not self._detectors:
            return example
        marks = Marks()
        messages: list[Message] = [
            {"role": message["role"], "content": self.redact_text(message["content"], marks)}
            for message in example.messages
        ]
        reply = None if example.reply is None else self.redact_text(example.reply, marks)
        return replace(example, messages=messages, reply=reply, gold=self._redact_gold(example.gold, marks))

    def _redact_gold(self, gold: str | list[str] | None, marks: Marks) -> str | list[str] | None:
        if gold is None or isinstance(gold, str):
            return gold and self.redact_text(gold, marks)
        return [self.redact_text(answer, marks) for answer in gold]

    def redact_text(self, text: str, marks: Marks | None = None) -> str:
        """The text with marks in place of personal data; `marks` are those given out before."""
        marks = marks or Marks()
        pieces, end = [], 0
        for found in _without_overlaps([found for detector in self._detectors for found in detector(text)]):
            pieces += [text[end : found.start], marks.of(found.kind, text[found.start : found.end])]
            end = found.end
        return "".join([*pieces, text[end:]])


class Marks:
    """The marks given out in a row."""

    def __init__(self) -> None:
        self._numbers: dict[PersonalData, dict[str, int]] = {}

    def of(self, kind: PersonalData, value: str) -> str:
        """The mark of a value: the same for the same one, upper and lower case and white space aside."""
        numbers = self._numbers.setdefault(kind, {})
        number = numbers.setdefault("".join(value.split()).casefold(), len(numbers) + 1)
        return f"[{kind.name}]" if number == 1 else f"[{kind.name}_{number}]"


def _without_overlaps(found: Sequence[Found]) -> list[Found]:
    """What is left when of two that overlap the longer one stays, by place."""
    taken: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        if all(one.end <= other.start or other.end <= one.start for other in taken):
            taken.append(one)
    return sorted(taken, key=lambda one: one.start)


# --- what finds it


def _detector(kind: PersonalData) -> Detector:
    try:
        if kind is PersonalData.PERSON:
            return partial(_people, _models())
        return partial(_recognised, _recogniser(_RECOGNISERS[kind]), kind)
    except ImportError as error:
        raise UserError(
            f"generation.redaction needs {error.name}, which is not installed: pip install 'distillery[redaction]', or"
            " use an image that has it.",
            reason=Reason.INVALID_SPEC,
        ) from error


def _recogniser(name: str) -> Any:
    from presidio_analyzer import predefined_recognizers

    recogniser = getattr(predefined_recognizers, name)()
    if name == "EmailRecognizer":
        from tldextract import TLDExtract

        # Its own way would fetch the list of domains from the internet when the first address is found.
        known_domains = TLDExtract(cache_dir=None, suffix_list_urls=())
        recogniser.validate_result = lambda text: known_domains(text).fqdn != ""
    return recogniser


def _recognised(recogniser: Any, kind: PersonalData, text: str) -> Iterator[Found]:
    for result in recogniser.analyze(text, recogniser.supported_entities):
        if result.score >= _LEAST_SCORE:
            yield Found(result.start, result.end, kind)


def _models() -> list[Any]:
    """The installed models that find people."""
    import spacy

    models = [spacy.load(name) for name in spacy.util.get_installed_models()]
    found = [model for model in models if set(_PEOPLE) & set(_labels(model))]
    if found:
        return found
    raise UserError(
        "generation.redaction.kinds: Person needs a spaCy model that finds names, and none is installed. Install one,"
        " such as en_core_web_sm, or leave Person out.",
        reason=Reason.INVALID_SPEC,
    )


def _labels(model: Any) -> Iterator[str]:
    for name in ("ner", "entity_ruler"):
        if model.has_pipe(name):
            yield from model.get_pipe(name).labels


def _people(models: Sequence[Any], text: str) -> Iterator[Found]:
    for model in models:
        for entity in model(text).ents:
            if entity.label_ in _PEOPLE:
                yield Found(entity.start_char, entity.end_char, PersonalData.PERSON)
