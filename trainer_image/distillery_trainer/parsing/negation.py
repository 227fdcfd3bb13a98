"""Whether a reply says that a label is not the answer; `foreign_negation.py` has other languages than English.

A negation extends to the end of its clause or to the next verb, whichever comes first; in doubt it negates the label.
"""

from __future__ import annotations

import re

from distillery_trainer.parsing.foreign_negation import is_negated_abroad

QUOTE_CHARACTERS = r"\s\"'*_`\u201c\u201d\u2018\u2019\u00ab\u00bb"
"""White space and the characters that quote or emphasise a word, for a character set in a pattern."""
_CONTRACTED = (
    r"(?:is|are|was|were|do|does|did|ca|could|wo|would|should|must|need|might|has|have|had|sha|ai)n['\u2019]?t"
)
# A negation in the subject extends beyond the verb: "nothing makes it LABEL".
_SUBJECT = (
    r"no(?!\s+(?:it|this|that|there|the|i|we|doubt|question|denying)\b)"
    r"|nobody|no\s+one|few\s+(?:\w+\s+)?would|nothing|neither|nor|none\s+of(?!\s+the\s+above)"
    r"|(?:incorrect|wrong|worst|false|least\s+likely|least\s+plausible|other|tempting)\s+(?:answers?|options?|choices?|labels?|ones?)"
    r"|(?:first|initial)\s+(?:guess|instinct|impression|idea)"
    r"|(?:i|we)\s+(?:(?:\w+ly|would|must|have\s+to)\s+)?(?:doubt|disagree|dispute|deny|reject|question)|doubtful"
    r"|(?:wrong|incorrect|a\s+mistake|mistaken|an\s+error|a\s+stretch|hard|difficult|premature|unreasonable|misleading"
    r"|impossible)\s+to\s+(?:answer|argue|call|choose|claim|classify|conclude|consider|describe|infer|label|mark|pick|say"
    r"|see|select|treat)"
)
_OTHER = (
    rf"not(?!\s+only\b)|never|cannot|hardly|non|{_CONTRACTED}|n['\u2019]t"
    r"|without(?!\s+(?:a\s+|any\s+)?(?:doubt|question)\b)|rather\s+than|instead\s+of|as\s+opposed\s+to|anything\s+but"
    r"|rul(?:es?|ed|ing)\s+out|eliminat(?:es?|ed|ing)|exclud(?:es?|ed|ing)|discard(?:s|ed|ing)?|except(?:ing)?|besides"
    r"|apart\s+from|other\s+than|all\s+but|everything\s+but|unlike|unlikely|far\s+(?:cry\s+)?from|opposite\s+of|fail(?:s|ed)?\s+to\s+be"
    r"|lack(?:s|ing)?|absence\s+of|free\s+(?:of|from)|avoid(?:s|ed|ing)?|almost|nearly|barely|scarcely|close\s+to|short\s+of"
    r"|border(?:s|ing)?\s+on|resembl(?:es?|ing)|refus(?:es?|ed|ing)\s+to|used\s+to\s+be"
    r"|reject(?:s|ed|ing)?|dismiss(?:es|ed|ing)?|cross(?:es|ed|ing)?\s+(?:off|out)|str(?:ik(?:es?|ing)|uck)\s+out"
    r"|(?:insufficient|little|scant|weak)\s+(?:evidence|support|basis|grounds|reason)\s+(?:for|of|to)|false(?=[ ]\Z)"
    r"|less|least|partly|partially|semi|half"
)
_FILLER = r"(?:\s{1,3}(?:clearly|really|necessarily|simply|exactly|quite|so|be)\b){0,3}"
_ADJECTIVES = r"\s{1,3}(?:an?|any|the)\b(?:\s{1,3}\w{1,20},(?=\s{1,3}(?!\w{1,20}ly\b)\w{1,20}\W{1,4}\Z))?"
_ASIDE = r"(?<!\bno),[^,.;:!?\n]{1,40},"
_BREAK = (
    r"[.;:!?\n|\u2192\u2013\u2014]|\s-+\s|[-=]>"
    # The comma of "neither (A), (B) nor (C)" does not end the negation.
    r"|,(?!(?<=\),)\s{0,3}(?:(?:n?or|and)\s{1,3})?\()"
    r"|\b(?:but|so|hence|thus|therefore|because|since|although|though|while|whereas|making|meaning|leaving"
    r"|instead(?!\s+of)|which\s+(?:is|makes|means)|and\s+(?:it|this|that|is|the|so|thus|hence|therefore|i))\b"
)
_CLAUSES = re.compile(
    rf"\b(?P<negation>(?P<subject>{_SUBJECT})|{_OTHER})\b(?:{_ASIDE}|{_FILLER}(?:{_ADJECTIVES})?)\s{{0,3}}|{_BREAK}",
    re.IGNORECASE,
)
"""Where a negation begins and where it ends."""

_MAX_DISTANCE = 80
"""Maximum distance of a negation before its label, in characters."""

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
"""What extends a negation beyond a verb: "I do not think it is LABEL", but not "Saying that he is not in is LABEL"."""

_LEADS_TO_BRACKET = re.compile(
    r"(?:\A|[)\]]|\b(?:is|are|be|an?|the|any|it|or|nor|and|than|as|like|either|of|to|for|with|in|option|choice|answer|label"
    r"|letter|choose|pick|select|take|consider|think|believe|mean|fit|match|support|favou?r|justify|imply))\W*\Z"
    r"|\A\W{1,4}(?:be\s{1,3})?(?:an?|any|the|in|on|at|by|from|with)\s",
    re.IGNORECASE,
)
"""What links a negation to a bracketed label: "not option (A)", but not "Not enough is known (A)"."""

_NEGATED_COLON = re.compile(
    r"(?:\b(?:not|never|neither|cannot)|(?:\A|[\n.;])\s{0,3}(?:rejected|eliminated|excluded|discarded|dismissed|ruled\s+out"
    rf"|crossed\s+(?:off|out)|incorrect|wrong|false))\s{{0,3}}:[{QUOTE_CHARACTERS}(\[]{{0,4}}\Z",
    re.IGNORECASE,
)
"""A colon ends a clause, but not in "the answer is not: LABEL" and "Rejected: LABEL"."""

_NEGATED_AFTER_LABEL = re.compile(
    rf"[{QUOTE_CHARACTERS})\]]{{1,4}}(?:{_CONTRACTED}|cannot|(?:is|was|do|does|did|can|could|would|will)\s{{1,3}}not)\b"
    r"(?P<outright>\s(?:be\s)?(?:an?|the)\s(?:(?:right|correct|best|final)\s)?(?:answer|option|choice|label|one)\b)?",
    re.IGNORECASE,
)
"""What negates the label before it. A stated label needs `outright`, because an option may be "(B) does not burn"."""

_REJECTED = re.compile(
    rf"[{QUOTE_CHARACTERS})\],]{{0,4}}(?:\([^()\n]{{1,80}}\)\s{{0,2}})?(?:is|are|was|were|seems?|looks?|would\s+be|must\s+be)\s"
    r"(?:(?:clearly|definitely|also|both|simply|just|obviously|all|therefore|thus|the|an?|out\s+as)\s){0,3}"
    r"(?:wrong|incorrect|false|ruled\s+out|eliminated|excluded|out\b|impossible|invalid|unlikely|implausible|irrelevant"
    r"|too\s|unsuitable|inappropriate|worse|distractor|off\s+the\s+table|unsupported|contradicted|absent|missing"
    r"|trap|(?:my\s|the\s)?(?:first|initial)\s)"
    rf"|[{QUOTE_CHARACTERS})\]]{{0,4}}(?:[:=]\s{{0,2}}(?:no|false|incorrect|wrong)\b|,\s{{0,2}}no\s{{0,2}}(?:[.!]|\Z)|fails?\b|overreach\w*|overstates?\b|goes\s+too\s+far|not\s{{0,2}}(?:[.!]|\Z)|was\s+expected)",
    re.IGNORECASE,
)
"""What rejects the label before it: "(A) is too warm"."""


def is_negated(text: str, label: tuple[int, int], *, bracketed: bool = False, stated: bool = False) -> bool:
    """Whether the label at `label` (start and end in the text) is negated, as in "not LABEL" or "LABEL does not hold".

    `bracketed`: a label such as (A). `stated`: a label in brackets or after "the answer is".
    """
    start, end = label
    if _is_negated_after(text, end + bracketed, stated=stated) or is_negated_abroad(text, start, end + bracketed):
        return True
    if _NEGATED_COLON.search(text[max(0, start - _MAX_DISTANCE) : start]):
        return True
    negation = None
    for found in _CLAUSES.finditer(text, max(0, start - _MAX_DISTANCE), start):
        negation = found if found["negation"] else None
    return negation is not None and _reaches(negation, text[negation.end("negation") : start], bracketed=bracketed)


def _is_negated_after(text: str, end: int, *, stated: bool) -> bool:
    negated = _NEGATED_AFTER_LABEL.match(text, end)
    return bool(negated and (negated["outright"] or not stated)) or _REJECTED.match(text, end) is not None


def _reaches(negation: re.Match[str], between: str, *, bracketed: bool) -> bool:
    """Whether a negation extends to the label, over what is between them."""
    if _CLAIM.search(between):
        return True
    if _VERB.search(between) and not negation["subject"]:
        return False
    return not bracketed or _LEADS_TO_BRACKET.search(between) is not None
