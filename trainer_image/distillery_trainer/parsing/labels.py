"""The one label parser, the same for teacher, base model and student, so that no system is read more leniently than
another.

In this order: the whole reply is a label; else the last "answer is LABEL" or "(LABEL)" that is not negated; else the
only label that occurs. A reply with several labels, a negated label or no label is unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence, Set

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.parsing.json_replies import JsonField, read_json_field, without_code_fence
from distillery_trainer.parsing.negation import QUOTE_CHARACTERS, is_negated
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

LABEL_REPLY_TOKENS = 32
"""Maximum length of a reply with a short label and a few words around it, in tokens."""

_CURLY_QUOTES = "\u201c\u201d\u2018\u2019\u00ab\u00bb"
_SURROUNDING_CHARACTERS = f" \t\r\n\"'`*_.,:;!()[]{{}}<>#{_CURLY_QUOTES}"


class LabelParser:
    """Finds one of `labels` in a reply. Case is ignored; the answer is spelled as in `labels`."""

    def __init__(self, labels: Sequence[str], key: str) -> None:
        self._by_folded = {_folded(label): label for label in labels}
        self._key = key
        longest_first = sorted(labels, key=len, reverse=True)
        any_label = "|".join(r"\s+".join(map(re.escape, label.split())) for label in longest_first)
        label = rf"(?<!\w)(?P<label>{any_label})(?!\w)"
        # A single letter in prose is an article or a pronoun, not a choice.
        worded = "|".join(r"\s+".join(map(re.escape, label.split())) for label in longest_first if len(label) > 1)
        self._word_labels = re.compile(rf"(?<!\w)(?P<label>{worded})(?!\w)", re.IGNORECASE) if worded else None
        self._stated_answer = re.compile(
            rf"\banswer(?:_choice)?\b[\"'*_`]*(?:\s+(?:is|would\s+be|must\s+be|should\s+be)\b|\s*[:=])"
            rf"(?P<negated>\s*\b(?:not|never|neither|cannot)\b)??(?:\s*:)?[{QUOTE_CHARACTERS}(\[]*{label}"
            rf"|\((?P<bracketed>{any_label})\)",
            re.IGNORECASE,
        )

    def exact_match(self, text: str) -> str | None:
        """The label that the whole text is equal to, ignoring punctuation and quotes around it."""
        return self._by_folded.get(_folded(text)) or self._by_folded.get(_folded(text.strip(_SURROUNDING_CHARACTERS)))

    def read(self, text: str) -> str | Unreadable:
        """The label in a reply, JSON or prose."""
        text = without_reasoning(text).strip()
        if not text:
            return Unreadable(RejectionReason.EMPTY, "The reply is empty.")
        return self.exact_match(text) or self._read_json(text) or self._read_prose(text)

    def _read_json(self, text: str) -> str | Unreadable | None:
        """The label under the key of a structured reply; None if the reply does not look like JSON."""
        field = read_json_field(text, self._key)
        if not isinstance(field, JsonField):
            return field or self.exact_match(without_code_fence(text))
        if isinstance(field.value, str):
            return self._read_choice(field.value)
        # Labels such as 1 and true may be written without quotes.
        bare = self.exact_match(json.dumps(field.value)) if isinstance(field.value, int) else None
        return bare or self._not_allowed(repr(field.value))

    def _read_choice(self, answer: str) -> str | Unreadable:
        if not answer.strip():
            return Unreadable(RejectionReason.EMPTY, f'The reply\'s "{self._key}" is empty.')
        return self.exact_match(answer) or self._read_prose(answer)

    def _read_prose(self, text: str) -> str | Unreadable:
        negated: set[str] = set()
        for match in reversed(list(self._stated_answer.finditer(text))):
            group = "label" if match["label"] else "bracketed"
            label = self._as_listed(match[group])
            if match["negated"] or is_negated(text, match.span(group), bracketed=group == "bracketed", stated=True):
                negated.add(label)
            elif label not in negated:
                return label
        return self._read_only_label(text, negated)

    def _read_only_label(self, text: str, negated: Set[str]) -> str | Unreadable:
        found = list(self._word_labels.finditer(text)) if self._word_labels else []
        distinct = sorted({self._as_listed(match["label"]) for match in found})
        if len(distinct) > 1:
            return Unreadable(RejectionReason.SEVERAL_LABELS, f"The reply names several labels: {', '.join(distinct)}.")
        if not distinct:
            return _negated(sorted(negated)) if negated else self._not_allowed(_excerpt(text))
        if distinct[0] in negated or any(is_negated(text, match.span("label")) for match in found):
            return _negated(distinct)
        return distinct[0]

    def _as_listed(self, found: str) -> str:
        return self._by_folded[_folded(found)]

    def _not_allowed(self, found: str) -> Unreadable:
        allowed = ", ".join(self._by_folded.values())
        return Unreadable(RejectionReason.LABEL_NOT_ALLOWED, f"The reply {found} names none of the labels: {allowed}.")


def _negated(labels: Sequence[str]) -> Unreadable:
    return Unreadable(RejectionReason.NEGATED_LABEL, f"The reply says that the answer is not {' or '.join(labels)}.")


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _excerpt(text: str, limit: int = 80) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= limit else flat[: limit - 1] + "…")
