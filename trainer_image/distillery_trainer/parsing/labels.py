"""The one parser that finds a label in a reply, the same for teacher, base model and student, so that no contestant is
read more kindly than another.

In order: the whole reply is a label; else the last "answer is LABEL" or "(LABEL)" that is not denied; else the only
label that occurs. Several labels, a negated label or none are unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence, Set

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.parsing.json_replies import Field, read_field, without_code_fence
from distillery_trainer.parsing.negation import QUOTES, is_denied
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

LABEL_REPLY_TOKENS = 32
"""Room for a short label and a few words around it, in tokens."""

_CURLY = "\u201c\u201d\u2018\u2019\u00ab\u00bb"
_WRAPPING = f" \t\r\n\"'`*_.,:;!()[]{{}}<>#{_CURLY}"


class LabelParser:
    """Finds one of `labels` in a reply. Upper and lower case are the same; the answer is spelled as in `labels`."""

    def __init__(self, labels: Sequence[str], key: str) -> None:
        self._by_folded = {_folded(label): label for label in labels}
        self._key = key
        longest_first = sorted(labels, key=len, reverse=True)
        any_label = "|".join(r"\s+".join(map(re.escape, label.split())) for label in longest_first)
        label = rf"(?<!\w)(?P<label>{any_label})(?!\w)"
        # A lone letter in prose is an article or a pronoun, not a choice.
        worded = "|".join(r"\s+".join(map(re.escape, label.split())) for label in longest_first if len(label) > 1)
        self._worded = re.compile(rf"(?<!\w)(?P<label>{worded})(?!\w)", re.IGNORECASE) if worded else None
        self._stated = re.compile(
            rf"\banswer(?:_choice)?\b[\"'*_`]*(?:\s+(?:is|would\s+be|must\s+be|should\s+be)\b|\s*[:=])"
            rf"(?P<negated>\s*\b(?:not|never|neither|cannot)\b)??(?:\s*:)?[{QUOTES}(\[]*{label}"
            rf"|\((?P<bracketed>{any_label})\)",
            re.IGNORECASE,
        )

    def exact(self, text: str) -> str | None:
        """The label that the whole text is, punctuation and quotes around it aside."""
        return self._by_folded.get(_folded(text)) or self._by_folded.get(_folded(text.strip(_WRAPPING)))

    def read(self, text: str) -> str | Unreadable:
        """The label in a reply, JSON or prose."""
        text = without_reasoning(text).strip()
        if not text:
            return Unreadable(RejectionReason.EMPTY, "The reply is empty.")
        return self.exact(text) or self._read_json(text) or self._read_prose(text)

    def _read_json(self, text: str) -> str | Unreadable | None:
        """The label under the key of a structured reply; None where the reply is not meant as one."""
        field = read_field(text, self._key)
        if not isinstance(field, Field):
            return field or self.exact(without_code_fence(text))
        if isinstance(field.value, str):
            return self._read_choice(field.value)
        # Labels such as 1 and true may come without quotes.
        bare = self.exact(json.dumps(field.value)) if isinstance(field.value, int) else None
        return bare or self._not_allowed(repr(field.value))

    def _read_choice(self, answer: str) -> str | Unreadable:
        if not answer.strip():
            return Unreadable(RejectionReason.EMPTY, f'The reply\'s "{self._key}" is empty.')
        return self.exact(answer) or self._read_prose(answer)

    def _read_prose(self, text: str) -> str | Unreadable:
        denied: set[str] = set()
        for match in reversed(list(self._stated.finditer(text))):
            group = "label" if match["label"] else "bracketed"
            label = self._canonical(match[group])
            if match["negated"] or is_denied(text, match.span(group), bracketed=group == "bracketed", stated=True):
                denied.add(label)
            elif label not in denied:
                return label
        return self._read_only_label(text, denied)

    def _read_only_label(self, text: str, denied: Set[str]) -> str | Unreadable:
        found = list(self._worded.finditer(text)) if self._worded else []
        distinct = sorted({self._canonical(match["label"]) for match in found})
        if len(distinct) > 1:
            return Unreadable(RejectionReason.SEVERAL_LABELS, f"The reply names several labels: {', '.join(distinct)}.")
        if not distinct:
            return _negated(sorted(denied)) if denied else self._not_allowed(_excerpt(text))
        if distinct[0] in denied or any(is_denied(text, match.span("label")) for match in found):
            return _negated(distinct)
        return distinct[0]

    def _canonical(self, found: str) -> str:
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
