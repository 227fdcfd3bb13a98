"""The one parser that finds a label in a reply, the same for teacher, base model and student, so that no contestant is
read more kindly than another.

In order: the whole reply is a label; else the last "answer is LABEL" or "(LABEL)" that is not denied; else the only
label that occurs. Several labels, a negated label or none are unreadable. A negation reaches to the end of its clause
or to the next verb, whichever is first; in doubt it means the label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence, Set

from distillery_trainer.prompts.base import Unreadable
from distillery_trainer.prompts.replies import Field, read_field, without_fence, without_thoughts

LABEL_REPLY_TOKENS = 32
"""Room for a short label and a few words around it, in tokens."""

_CURLY = "\u201c\u201d\u2018\u2019\u00ab\u00bb"
_QUOTES = rf"\s\"'*_`{_CURLY}"
_WRAPPING = f" \t\r\n\"'`*_.,:;!()[]{{}}<>#{_CURLY}"
_CONTRACTED = (
    r"(?:is|are|was|were|do|does|did|ca|could|wo|would|should|must|need|might|has|have|had|sha|ai)n['\u2019]?t"
)
# What a verb's subject negates goes on beyond the verb: "nothing makes it LABEL".
_SUBJECT = (
    r"no(?!\s+(?:it|this|that|there|the|i|we|doubt|question|denying)\b)"
    r"|nothing|neither|nor|none\s+of(?!\s+the\s+above)"
)
_OTHER = (
    rf"not(?!\s+only\b)|never|cannot|hardly|non|{_CONTRACTED}|n['\u2019]t"
    r"|without(?!\s+(?:a\s+|any\s+)?(?:doubt|question)\b)|rather\s+than|instead\s+of|as\s+opposed\s+to|anything\s+but"
)
_FILLER = r"(?:\s{1,3}(?:clearly|really|necessarily|simply|exactly|quite|so|be)\b){0,3}"
_ADJECTIVES = r"\s{1,3}(?:an?|any|the)\b(?:\s{1,3}\w{1,20},(?=\s{1,3}(?!\w{1,20}ly\b)\w{1,20}\W{1,4}\Z))?"
_ASIDE = r"(?<!\bno),[^,.;:!?\n]{1,40},"
_BREAK = (
    r"[.;:!?\n|\u2192\u2013\u2014]|\s-+\s|[-=]>"
    # The comma of "neither (A), (B) nor (C)" goes on with what is denied.
    r"|,(?!(?<=\),)\s{0,3}(?:(?:n?or|and)\s{1,3})?\()"
    r"|\b(?:but|so|hence|thus|therefore|because|since|although|though|while|whereas|making|meaning|leaving"
    r"|instead(?!\s+of)|which\s+(?:is|makes|means)|and\s+(?:it|this|that|is|the|so|thus|hence|therefore|i))\b"
)
_CLAUSES = re.compile(
    rf"\b(?P<negation>(?P<subject>{_SUBJECT})|{_OTHER})\b(?:{_ASIDE}|{_FILLER}(?:{_ADJECTIVES})?)\s{{0,3}}|{_BREAK}",
    re.IGNORECASE,
)
"""Where a negation begins and where its reach ends."""

_REACH = 80
"""How far before a label its negation may stand, in characters."""

_VERB = re.compile(
    r"\b(?:is|are|was|were|makes?|means|gives|remains|supports|suggests|implies|shows|(?:it|this|that)['\u2019]s)\b",
    re.IGNORECASE,
)
_CLAIM = re.compile(
    r"\b(?:that|whether|if|why|how|what)\b"
    r"|\b(?:think|believe|suppose|feel|say|mean|imply|sure|certain|clear|true|sign|evidence|proof|indication|reason|way)"
    r"\s{1,3}(?:it|this|the|there|these|my|to|he|she|they|we)\b",
    re.IGNORECASE,
)
"""What lets a negation reach beyond a verb: "I do not think it is LABEL", but "Saying that he is not in is LABEL"."""

_LEADS_TO_BRACKET = re.compile(
    r"(?:\A|[)\]]|\b(?:is|are|be|an?|the|any|it|or|nor|and|than|as|like|either|of|to|for|with|in|option|choice|answer|label"
    r"|letter|choose|pick|select|take|consider|think|believe|mean|fit|match|support|favou?r|justify|imply))\W*\Z"
    r"|\A\W{1,4}(?:be\s{1,3})?(?:an?|any|the|in|on|at|by|from|with)\s",
    re.IGNORECASE,
)
"""What stands between a negation and a bracket that it denies: "not option (A)", but "Not enough is known (A)"."""

_REJECTED = re.compile(
    rf"[{_QUOTES})\]]{{1,4}}(?:{_CONTRACTED}|cannot|(?:is|was|do|does|did|can|could|would|will)\s{{1,3}}not)\b"
    r"(?P<outright>\s(?:be\s)?(?:an?|the)\s(?:(?:right|correct|best|final)\s)?(?:answer|option|choice|label|one)\b)?",
    re.IGNORECASE,
)
"""What denies the label before it; a stated label only outright, since an option may read "(B) does not burn"."""


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
            rf"(?P<negated>\s*\b(?:not|never|neither|cannot)\b)??(?:\s*:)?[{_QUOTES}(\[]*{label}"
            rf"|\((?P<bracketed>{any_label})\)",
            re.IGNORECASE,
        )

    def exact(self, text: str) -> str | None:
        """The label that the whole text is, punctuation and quotes around it aside."""
        return self._by_folded.get(_folded(text)) or self._by_folded.get(_folded(text.strip(_WRAPPING)))

    def read(self, text: str) -> str | Unreadable:
        """The label in a reply, JSON or prose."""
        text = without_thoughts(text).strip()
        if not text:
            return Unreadable("empty", "The reply is empty.")
        return self.exact(text) or self._read_json(text) or self._read_prose(text)

    def _read_json(self, text: str) -> str | Unreadable | None:
        """The label under the key of a structured reply; None where the reply is not meant as one."""
        field = read_field(text, self._key)
        if not isinstance(field, Field):
            return field or self.exact(without_fence(text))
        if isinstance(field.value, str):
            return self._read_choice(field.value)
        # Labels such as 1 and true may come without quotes.
        bare = self.exact(json.dumps(field.value)) if isinstance(field.value, int) else None
        return bare or self._not_allowed(repr(field.value))

    def _read_choice(self, answer: str) -> str | Unreadable:
        if not answer.strip():
            return Unreadable("empty", f'The reply\'s "{self._key}" is empty.')
        return self.exact(answer) or self._read_prose(answer)

    def _read_prose(self, text: str) -> str | Unreadable:
        denied: set[str] = set()
        for match in reversed(list(self._stated.finditer(text))):
            label = self._canonical(match["label"] or match["bracketed"])
            if _is_denied(text, match):
                denied.add(label)
            elif label not in denied:
                return label
        return self._read_only_label(text, denied)

    def _read_only_label(self, text: str, denied: Set[str]) -> str | Unreadable:
        found = list(self._worded.finditer(text)) if self._worded else []
        distinct = sorted({self._canonical(match["label"]) for match in found})
        if len(distinct) > 1:
            return Unreadable("several_labels", f"The reply names several labels: {', '.join(distinct)}.")
        if not distinct:
            return _negated(sorted(denied)) if denied else self._not_allowed(_excerpt(text))
        if distinct[0] in denied or any(_is_denied(text, match) for match in found):
            return _negated(distinct)
        return distinct[0]

    def _canonical(self, found: str) -> str:
        return self._by_folded[_folded(found)]

    def _not_allowed(self, found: str) -> Unreadable:
        allowed = ", ".join(self._by_folded.values())
        return Unreadable("label_not_allowed", f"The reply {found} names none of the labels: {allowed}.")


def _is_denied(text: str, match: re.Match[str]) -> bool:
    """Whether the label of a match is negated, as in "not LABEL" or "LABEL is not the answer"."""
    groups = match.groupdict()
    is_stated, is_bracketed = "bracketed" in groups, groups.get("bracketed") is not None
    rejected = _REJECTED.match(text, match.end())
    if groups.get("negated") or (rejected and (rejected["outright"] or not is_stated)):
        return True
    start = match.start("bracketed" if is_bracketed else "label")
    negation = None
    for found in _CLAUSES.finditer(text, max(0, start - _REACH), start):
        negation = found if found["negation"] else None
    if negation is None:
        return False
    between = text[negation.end("negation") : start]
    if _CLAIM.search(between):
        return True
    if _VERB.search(between) and not negation["subject"]:
        return False
    return not is_bracketed or _LEADS_TO_BRACKET.search(between) is not None


def _negated(labels: Sequence[str]) -> Unreadable:
    return Unreadable("negated_label", f"The reply says that the answer is not {' or '.join(labels)}.")


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _excerpt(text: str, limit: int = 80) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= limit else flat[: limit - 1] + "…")
