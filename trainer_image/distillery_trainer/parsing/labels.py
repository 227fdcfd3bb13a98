"""The one label parser, the same for teacher, base model and student, so that no system is read more leniently than
another.

In this order: the whole reply is a label; else what the reply states most clearly (`statements.py`), if that is one
label; else the only label that occurs. What is negated, asked, supposed or one of several alternatives does not count.
A reply that states several labels without correcting itself, or none, is unreadable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from distillery_api.comparable import comparable, label_key
from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.parsing.json_replies import JsonField, read_json_field, without_code_fence
from distillery_trainer.parsing.prose_labels import ProseReader
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

LABEL_REPLY_TOKENS = 32
"""Maximum length of a reply with a short label and a few words around it, in tokens."""


class LabelParser:
    """Finds one of `labels` in a reply; the answer is spelled as in `labels`.

    What `distillery_api.comparable.label_key` ignores is ignored: case, Unicode variants, punctuation around a label.
    `phrases`: texts that stand for a label, such as those of a question's options, with that label.
    """

    def __init__(self, labels: Sequence[str], key: str, phrases: Mapping[str, str] | None = None) -> None:
        self._by_key = {label_key(label): label for label in labels}
        self._key = key
        self._prose = ProseReader(labels, phrases or {})

    def exact_match(self, text: str) -> str | None:
        """The label that the whole text is equal to, ignoring punctuation, quotes and emphasis around it."""
        return self._by_key.get(label_key(text))

    def read(self, text: str) -> str | Unreadable:
        """The label in a reply, JSON or prose."""
        text = without_reasoning(text).strip()
        if not comparable(text):
            return Unreadable(RejectionReason.EMPTY, "The reply is empty.")
        return self.exact_match(text) or self._read_json(text) or self._prose.read(text)

    def _read_json(self, text: str) -> str | Unreadable | None:
        """The label under the key of a structured reply; None if the reply does not look like JSON."""
        field = read_json_field(text, self._key)
        if not isinstance(field, JsonField):
            return field or self.exact_match(without_code_fence(text))
        if isinstance(field.value, str):
            return self._read_choice(field.value)
        # Labels such as 1 and true may be written without quotes.
        bare = self.exact_match(json.dumps(field.value)) if isinstance(field.value, int) else None
        return bare or self._prose.not_allowed(repr(field.value))

    def _read_choice(self, answer: str) -> str | Unreadable:
        if not comparable(answer):
            return Unreadable(RejectionReason.EMPTY, f'The reply\'s "{self._key}" is empty.')
        return self.exact_match(answer) or self._prose.read(answer)
