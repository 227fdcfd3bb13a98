"""Which label a reply in prose gives as its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from distillery_api.comparable import plain
from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.parsing.claims import Claim, claims_of, contradictory
from distillery_trainer.parsing.markup import without_markup
from distillery_trainer.parsing.mentions import Mention, MentionFinder
from distillery_trainer.parsing.statements import Clarity
from distillery_trainer.parsing.unreadable import Unreadable

_HEAD, _TAIL = 1000, 3000
"""Characters at the start and at the end of a long reply that are read: where a reply states its answer."""
_FIRST_MENTIONS, _LAST_MENTIONS = 50, 150
"""Of many mentions, those that are judged."""

_CORRECTION = re.compile(
    r"\b(?:wait|actually|no|however|but|sorry|mistake|instead|rather|second\s+thought|reflection|re-?(?:consider|think"
    r"|check|evaluat|read|examin)\w*|scratch|therefore|thus|hence|so|final(?:ly)?|conclusion|overall|correct(?:ed|ion)|revis\w+"
    r"|hmm|although|though|yet|in\s+fact|looking\s+(?:again|closer)|first|initially|at\s+first|doch|mais|pero|\u043d\u043e)\b"
    r"|\u4e0d\u5bf9|\u4f46|\u6240\u4ee5|\u56e0\u6b64|\u3057\u304b\u3057|\u3067\u3082"
)
_RETRACTION = re.compile(
    r"\b(?:wait|scratch\s+that|on\s+second\s+thought|i\s+(?:was|am|made)\s+(?:wrong|mistaken|a\s+mistake|an\s+error)"
    r"|my\s+mistake|oops|correction|(?:that|this|it)(?:'s|\s+is|\s+was|\s+can't\s+be|\s+cannot\s+be|\s+may\s+be|\s+seems)\s*"
    r"(?:wrong|incorrect|not\s+right|not\s+correct|not\s+quite\s+right|a\s+mistake|mistaken)"
    r"|that\s+(?:can't|cannot)\s+be(?:\s+right)?|let\s+me\s+(?:re|correct|double)\w*|i\s+take\s+that\s+back"
    r"|the\s+opposite|just\s+kidding)\b|\u4e0d\u5bf9|\u9519\u4e86"
)
_CHANGE_OF_MIND = re.compile(
    r"(?:[.!?\n;]\s*|\A[\s\"')]*,\s*)(?:no|but|actually|however|or|rather|instead|then\s+again)\b"
)


class ProseReader:
    """Reads one of `labels` in prose; `phrases` are texts that stand for a label where they are stated."""

    def __init__(self, labels: Sequence[str], phrases: Mapping[str, str]) -> None:
        self._labels = labels
        self._finder = MentionFinder(labels, phrases)

    def read(self, text: str) -> str | Unreadable:
        """The label that the reply gives as its answer."""
        whole = len(text) <= _HEAD + _TAIL
        read = text if whole else f"{text[:_HEAD]}\n\n{text[-_TAIL:]}"
        prose = without_markup(plain(read), kept=self._finder.marks)
        mentions = self._finder.find(prose.casefold())
        if len(mentions) > _FIRST_MENTIONS + _LAST_MENTIONS:
            mentions, whole = [*mentions[:_FIRST_MENTIONS], *mentions[-_LAST_MENTIONS:]], False
        if contradictory(prose, mentions):
            return _several(mentions)
        claims = claims_of(prose, mentions)
        return _clearest(prose.casefold(), claims) or self._only_label(claims, text, whole=whole)

    def not_allowed(self, found: str) -> Unreadable:
        """The reply has none of the labels; `found` says what it has instead."""
        allowed = ", ".join(self._labels)
        return Unreadable(RejectionReason.LABEL_NOT_ALLOWED, f"The reply {found} names none of the labels: {allowed}.")

    def _only_label(self, claims: Sequence[Claim], text: str, *, whole: bool) -> str | Unreadable:
        """The only label that occurs, if prose does not have such words anyway."""
        telling = [claim for claim in claims if not claim.mention.is_phrase]
        worded = [claim for claim in telling if not claim.mention.is_common]
        distinct = {claim.label for claim in worded} | {
            claim.label for claim in telling if not claim.negated and (claim.clarity or len(claim.label) > 1)
        }
        if len(distinct) > 1:
            return _several([claim.mention for claim in telling if claim.label in distinct])
        negated = sorted({claim.label for claim in telling if claim.negated})
        if negated:
            return _negated(negated)
        if not worded or not whole or any(claim.uncertain for claim in worded):
            return self.not_allowed(_excerpt(text))
        return worded[0].label


# --- what the reply states most clearly


def _clearest(folded: str, claims: Sequence[Claim]) -> str | Unreadable | None:
    """The label of the clearest claims; unreadable where these differ, or are taken back; None where there are none."""
    for clarity in (Clarity.FINAL, Clarity.STATED, Clarity.SAID):
        clear = [claim for claim in claims if claim.clarity >= clarity and claim.holds]
        if clear:
            return _agreed(folded, clear, claims)
    return None


def _agreed(folded: str, clear: Sequence[Claim], claims: Sequence[Claim]) -> str | Unreadable:
    last = clear[-1]
    others = [claim for claim in clear if claim.label != last.label]
    if others and not _is_correction(folded, others[-1], last):
        return _several([claim.mention for claim in clear])
    later = [claim for claim in claims if claim.mention.start > last.end]
    if any(claim.label == last.label and claim.negated and _counts(claim) for claim in later):
        return _negated([last.label])
    if _is_taken_back(folded, last, later):
        return _several([last.mention, *(claim.mention for claim in later)])
    return last.label


def _is_correction(folded: str, earlier: Claim, last: Claim) -> bool:
    between = folded[earlier.end : last.mention.start]
    if last.clarity >= Clarity.CONCLUDED:
        return last.clarity is Clarity.FINAL > earlier.clarity or _CORRECTION.search(between) is not None
    return _RETRACTION.search(between) is not None


def _is_taken_back(folded: str, last: Claim, later: Sequence[Claim]) -> bool:
    """Whether the reply changes its mind after its last statement, without a new one."""
    if retraction := _RETRACTION.search(folded, last.end):
        after = [claim for claim in later if claim.mention.start > retraction.start() and not claim.negated]
        return not after or any(claim.label != last.label for claim in after)
    said = [claim for claim in later if claim.holds and claim.clarity and claim.label != last.label]
    return any(_CHANGE_OF_MIND.search(folded[last.end : claim.mention.start]) for claim in said)


def _counts(claim: Claim) -> bool:
    return claim.clarity > Clarity.MENTIONED or not (claim.mention.is_common or claim.mention.is_phrase)


def _several(mentions: Sequence[Mention]) -> Unreadable:
    listed = ", ".join(sorted({mention.label for mention in mentions}))
    return Unreadable(RejectionReason.SEVERAL_LABELS, f"The reply names several labels: {listed}.")


def _negated(labels: Sequence[str]) -> Unreadable:
    return Unreadable(RejectionReason.NEGATED_LABEL, f"The reply says that the answer is not {' or '.join(labels)}.")


def _excerpt(text: str, limit: int = 80) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= limit else flat[: limit - 1] + "\u2026")
