"""Reads an answer that is any number of labels: a list such as `a, b`, or `none`.

Every item of the list must be a label; a reply with anything else is unreadable, because a sentence about several
labels says too little about which of them apply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from distillery_api.comparable import comparable, label_key, plain
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import LABEL_SEPARATORS, NO_LABEL
from distillery_trainer.parsing.json_replies import JsonField, read_json_field, without_code_fence
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

_LONGEST_LIST = 32_000
"""Characters: more than all labels together can have."""
_SEPARATOR = re.compile(rf"[{re.escape(LABEL_SEPARATORS)}\n]")
_AND = re.compile(r"\s+(?:and|und|et|y|e|&)\s+", re.IGNORECASE)
_LEAD = re.compile(r"\s*(?:the\s+)?(?:(?:right|correct|applicable)\s+)?(?:labels?|answers?|tags?|categor(?:y|ies))"
                   r"(?:\s+(?:are|is))?\s*:", re.IGNORECASE)  # fmt: skip
_NUMBERED = re.compile(r"\s*\d{1,3}[.)]\s+")
_NO_LABEL = frozenset({NO_LABEL, "no label", "no labels", "none of the labels", "none of them", "none of these"})

LabelFinder = Callable[[str], str | None]
"""The label that a text is; None if it is none."""


class LabelSetParser:
    """Finds the set of labels in a reply; the answer is written in the order of `labels`."""

    def __init__(self, labels: Sequence[str], key: str) -> None:
        self._labels = labels
        self._by_key = {label_key(label): label for label in labels}
        self._key = key

    def written(self, found: Collection[str]) -> str:
        """The one way in which a set of labels is written: `a, b`, or `none` where it is empty."""
        return ", ".join(label for label in self._labels if label in found) or NO_LABEL

    def read(self, text: str) -> str | Unreadable:
        """The set of labels in a reply, a list or JSON."""
        text = without_reasoning(text).strip()
        if not comparable(text):
            return Unreadable(RejectionReason.EMPTY, "The reply is empty.")
        found = self.listed(text, self._label)
        if found is not None:
            return self.written(found)
        return self._read_json(text) or self._read_list(without_code_fence(text))

    def listed(self, text: str, label_of: LabelFinder) -> set[str] | None:
        """The labels of a list, by commas or lines; None where an item of it is no label."""
        if len(text) > _LONGEST_LIST:
            return None
        if label_key(text) in _NO_LABEL:
            return set()
        items = [item for item in _SEPARATOR.split(plain(text)) if item.strip(" .") or label_of(item)]
        return _all_labels([label for item in items for label in _labels_in(item, label_of)]) if items else None

    def _label(self, text: str) -> str | None:
        return self._by_key.get(label_key(text))

    def _read_json(self, text: str) -> str | Unreadable | None:
        """The labels of a structured reply; None if the reply does not look like JSON."""
        if isinstance(bare := _json_list(text), list):
            return self._of_values(bare)
        field = read_json_field(text, self._key)
        if not isinstance(field, JsonField):
            return None if text.lstrip("` \n").startswith("[") else field
        if isinstance(field.value, list):
            return self._of_values(field.value)
        return self._read_list(field.value if isinstance(field.value, str) else json.dumps(field.value, default=str))

    def _of_values(self, values: list[Any]) -> str | Unreadable:
        """The set of labels of a JSON list."""
        texts = [value if isinstance(value, str) else json.dumps(value, default=str) for value in values]
        found = _all_labels([self._label(text) for text in texts if label_key(text) not in _NO_LABEL])
        return self._not_labels(", ".join(texts)) if found is None else self.written(found)

    def _read_list(self, text: str) -> str | Unreadable:
        """The set of labels of a list, with or without brackets around it or words such as "Labels:" before it."""
        bare = _LEAD.sub("", text, count=1).strip()
        inner = bare[1:-1] if bare.startswith("[") and bare.endswith("]") else bare
        for candidate in (text, bare, inner):
            if (found := self.listed(candidate, self._label)) is not None:
                return self.written(found)
        return self._not_labels(text)

    def _not_labels(self, text: str) -> Unreadable:
        flat = " ".join(text.split())
        shown = flat if len(flat) <= 80 else f"{flat[:79]}\u2026"
        allowed = ", ".join(self._labels)
        message = f"The reply {shown!r} is not a list of some of these labels, nor {NO_LABEL}: {allowed}."
        return Unreadable(RejectionReason.LABEL_NOT_ALLOWED, message)


def _labels_in(item: str, label_of: LabelFinder) -> list[str | None]:
    """The label that an item is, or those that it joins by a word such as "and"; None in place of what is no label."""
    whole = label_of(item) or label_of(_NUMBERED.sub("", item, count=1))
    if whole is not None:
        return [whole]
    return [label_of(part) for part in _AND.split(item) if part.strip()]


def _all_labels(found: Iterable[str | None]) -> set[str] | None:
    """The labels as a set; None if one of them is none."""
    labels = set(found)
    return None if None in labels else {label for label in labels if label is not None}


def _json_list(text: str) -> Any:
    """The JSON value that a reply is; None if it is no JSON."""
    try:
        return json.loads(without_code_fence(text))
    except (ValueError, RecursionError):
        return None
