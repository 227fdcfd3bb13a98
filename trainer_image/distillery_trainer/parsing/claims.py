"""What a reply says about each label that it mentions."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from distillery_trainer.parsing.mentions import Mention
from distillery_trainer.parsing.negation import is_negated
from distillery_trainer.parsing.statements import Clarity, clarity_of, ends_choice, has_value, heads_line
from distillery_trainer.parsing.suppositions import depends, is_supposed

_ALTERNATIVE = re.compile(
    r"[\s\"'()\[\]]*(?:[,/|&;\u2192\u21d2]|[-=]+>|\b(?:and|or|nor|versus|vs\.?|und|oder|ou|et|y|o|e|ou|of|en|\u0438|\u0438\u043b\u0438)\b|\u6216|\u548c|\u3068|\u304b|\u0e2b\u0e23\u0e37\u0e2d|\u53ca){1,3}"
    r"(?:[\s\"'(\[]|\b(?:and|or|an?|the|options?|either|maybe|perhaps|possibly|even)\b)*"
)
_CONTRAST = re.compile(
    r"[\"')\]]*,?\s*(?:(?:but|sondern|sino|mais|ma|mas|maar|utan|\u0430)\s+(?:(?:rather|instead|it\s+is|is|it's|es)\s+)?"
    r"(?:an?\s+|options?\s+)?|\u800c\u662f)[\"'(\[]*"
)
_REFERENCE = re.compile(r"\b(?:in|see|from|per|figure|fig\.?|table|section|step|part)\s*[(\[]\Z")
_BEFORE_OPTION_TEXT = re.compile(r"[\"')\]]*\s*[.):,(\u2014\u2013-]*[\s\"'(]*")


@dataclass(frozen=True, slots=True)
class Claim:
    """A mention, and what the reply says about it."""

    mention: Mention
    end: int
    """Where it ends, with the option's text after its letter."""
    clarity: Clarity
    negated: bool
    uncertain: bool
    """Whether it is supposed, or one of several alternatives."""

    @property
    def label(self) -> str:
        """The label that is mentioned."""
        return self.mention.label

    @property
    def holds(self) -> bool:
        """Whether it is neither negated nor uncertain."""
        return not self.negated and not self.uncertain


def claims_of(prose: str, mentions: Sequence[Mention]) -> list[Claim]:
    """What the reply says about each mention. Articles and pronouns that look like a label are left out."""
    folded = prose.casefold()
    ends = [_end_with_option_text(folded, mentions, number) for number in range(len(mentions))]
    pairs = [
        pair for number, pair in enumerate(zip(mentions, ends, strict=True)) if not _is_covered(ends, mentions, number)
    ]
    in_list = _goes_through_labels(folded, mentions)
    masked = _masked(prose, mentions)
    claims = _with_contrasts(folded, [_claim(masked, folded, mention, end, in_list) for mention, end in pairs])
    alternatives = _alternatives(folded, claims)
    return [
        replace(claim, uncertain=claim.uncertain or number in alternatives)
        for number, claim in enumerate(claims)
        if not _is_a_mere_word(prose, claim)
    ]


def contradictory(prose: str, mentions: Sequence[Mention]) -> bool:
    """Whether a letter stands before the text of another option, as in "B. on the roof"."""
    return any(
        not letter.is_phrase
        and text.is_phrase
        and letter.label != text.label
        and len(letter.label) == 1
        and _BEFORE_OPTION_TEXT.fullmatch(between := prose[letter.end : text.start])
        and between.strip()
        for letter, text in pairwise(mentions)
    )


def _masked(prose: str, mentions: Sequence[Mention]) -> str:
    """The text without the words of its labels: the "not" of a label negates no other one, but its "a" may."""
    pieces, end = [], 0
    for mention in (mention for mention in mentions if mention.end > mention.start + 1):
        pieces += [prose[end : mention.start], "x" * (mention.end - mention.start)]
        end = mention.end
    return "".join([*pieces, prose[end:]])


def _end_with_option_text(folded: str, mentions: Sequence[Mention], number: int) -> int:
    mention, text = mentions[number], next(iter(mentions[number + 1 : number + 2]), None)
    if text is None or mention.is_phrase or not text.is_phrase or text.label != mention.label:
        return mention.end
    return text.end if _BEFORE_OPTION_TEXT.fullmatch(folded, mention.end, text.start) else mention.end


def _is_covered(ends: Sequence[int], mentions: Sequence[Mention], number: int) -> bool:
    return number > 0 and ends[number - 1] >= mentions[number].end


def _goes_through_labels(folded: str, mentions: Sequence[Mention]) -> bool:
    """Whether lines start with one label after the other; with B before A, the first one may be the answer."""
    heads = [mention.label for mention in mentions if not mention.is_phrase and heads_line(folded, mention)]
    if len({mention.label for mention in mentions if has_value(folded, mention)}) > 1:
        return True
    return len(set(heads)) > 1 and (heads[0] < heads[1] or len(heads[0]) > 1)


def _with_contrasts(folded: str, claims: Sequence[Claim]) -> list[Claim]:
    """The claims, where "not A but B" says B."""
    contrasted = {
        number + 1
        for number, (one, other) in enumerate(pairwise(claims))
        if one.negated and one.label != other.label and _CONTRAST.fullmatch(folded, one.end, other.mention.start)
    }
    return [
        replace(claim, clarity=Clarity.CONCLUDED, negated=False) if number in contrasted else claim
        for number, claim in enumerate(claims)
    ]


def _claim(masked: str, folded: str, mention: Mention, end: int, in_list: bool) -> Claim:
    bracketed = masked[mention.start - 1 : mention.start] in ("(", "[") and masked[mention.end : mention.end + 1] in (
        ")",
        "]",
    )
    clarity = clarity_of(folded, mention, end, in_list=in_list)
    refers = _REFERENCE.search(folded[max(0, mention.start - 20) : mention.start]) is not None
    if bracketed and clarity is Clarity.MENTIONED and ends_choice(folded, end) and not refers:
        clarity = Clarity.SAID
    span = (mention.start, mention.end)
    negated = is_negated(masked, span, bracketed=bracketed, stated=bracketed or clarity >= Clarity.STATED)
    supposed = is_supposed(masked, mention.start, end)
    depending = mention.is_common and clarity is Clarity.SAID and depends(masked, mention.start)
    return Claim(mention, end, clarity, negated, supposed or depending)


def _alternatives(folded: str, claims: Sequence[Claim]) -> Set[int]:
    """The numbers of claims that are joined with another label: "A or B"."""
    pairs = [
        number
        for number, (one, other) in enumerate(pairwise(claims))
        if one.label != other.label and other.negated == one.negated
        if _ALTERNATIVE.fullmatch(folded, one.end, other.mention.start)
    ]
    return {*pairs, *(number + 1 for number in pairs)}


def _is_a_mere_word(prose: str, claim: Claim) -> bool:
    """Whether a letter is an article, a pronoun, or part of other words."""
    word = prose[claim.mention.start : claim.mention.end]
    return len(word) == 1 and word.isalpha() and claim.clarity is Clarity.MENTIONED and not _stands_alone(prose, claim)


def _stands_alone(prose: str, claim: Claim) -> bool:
    word = prose[claim.mention.start : claim.mention.end]
    return not word.islower() and (word not in "AI" or ends_choice(prose.casefold(), claim.end))
