"""How clearly a reply states a label that it mentions, judging by the words before and after it.

"The answer is B", "B is correct", "I choose B", a first or last line that is the label: a statement. "It is neutral",
"so (B)": said. Anything else is a mere mention, as in an explanation: "Options (A) and (C) are too warm".
"""

from __future__ import annotations

import re
from enum import IntEnum

from distillery_trainer.parsing.markup import BOX
from distillery_trainer.parsing.mentions import UNSPACED, Mention


class Clarity(IntEnum):
    """How clearly a mention is meant as the answer."""

    MENTIONED = 0
    SAID = 1
    STATED = 2
    """In words about the answer, or at the head of the reply."""
    CONCLUDED = 3
    """As the answer, in words that may correct an earlier statement: "the answer is", or a line of its own."""
    FINAL = 4
    """As the final answer, or in a box."""


_WINDOW = 160
"""Characters before and after a mention that are looked at."""

_NOUN = (
    r"(?:answer|answer_choice|ans|letter|option|choice|label|verdict|prediction|classification|relation|relationship"
    r"|judge?ment|conclusion|category|class|result|decision|response|selection|pick|solution|sentiment"
    r"|antwort|l\u00f6sung|r\u00e9ponse|respuesta|opci\u00f3n|resposta|op\u00e7\u00e3o|risposta|opzione|antwoord"
    r"|odpowied\u017a|svar|svaret|vastaus|cevap|cevab|yanit|jawaban(?:nya)?|\u043e\u0442\u0432\u0435\u0442"
    r"|\u0432\u0430\u0440\u0438\u0430\u043d\u0442)"
)
_UNSPACED_NOUN = (
    "(?:\u7b54\u6848|\u56de\u7b54|\u7b54\u3048|\u6b63\u89e3|\u7d50\u8ad6|\u7ed3\u8bba|\u9009\u9879|\u9078\u9805"
    "|\u89e3\u7b54|\u5173\u7cfb|\u95dc\u4fc2|\u95a2\u4fc2|\u5224\u65ad|\u6807\u7b7e|\u30e9\u30d9\u30eb"
    "|\u0e04\u0e33\u0e15\u0e2d\u0e1a|\uc815\ub2f5|\ub2f5|\uad00\uacc4|\u0909\u0924\u094d\u0924\u0930"
    "|\u0627\u0644\u0625\u062c\u0627\u0628\u0629|\u0627\u0644\u062c\u0648\u0627\u0628)"
)
_NOT_THE_ANSWER = re.compile(
    r"\b(?:wrong|incorrect|worst|bad|other|another|alternative|second|first|initial|original|previous|earlier|tempting"
    r"|popular|obvious|naive|na\u00efve|possible|potential|plausible|your|their|his|her|user's|student's|next|no|any|an"
    r"|common|intuitive|which|what|not|not\s+the|least likely|falsche|mauvaise|incorrecta|sbagliata)"
    r"\s+(?:\w+\s+)?\Z"
)
_ADJECTIVE = r"(?:\s+(?:correct[ao]|correcte|corrett[ao]|corret[ao]|cert[ao]|exacte|juste|final))?"
_ABOUT = r"(?:\s+(?:here|(?:to|for|of|between|in|from|on)\s+[\w' ]{1,80}?))?"
_LINK = (
    r"(?:\s*(?:[:=]|[-=]+>|\u2192|\u2014|\u2013)\s*"
    r"|\s+(?:is|would\s+be|must\s+be|should\s+be|has\s+to\s+be|remains|ist|lautet|w\u00e4re|est|serait|es|ser\u00eda|\u00e9"
    r"|\u00e8|jest|\u00e4r|er|on|adalah|l\u00e0|\u2013|\u2014|-)(?=\W)(?:\s*:)?)"
)
_UNSPACED_LINK = (
    "\\s*(?:[:=]|\u662f|\u4e3a|\u70ba|\u306f|\u304c|\u5e94\u4e3a|\u5e94\u662f|\u61c9\u70ba|\u0e04\u0e37\u0e2d|\uc740"
    "|\ub294|\uc774|\uac00|\u0939\u0948|\u0647\u064a|\u0647\u0648)(?:\\s*:)?"
)
_FILLER = (
    r"(?:[\s\"'(\[]|\b(?:clearly|definitely|most|likely|probably|therefore|thus|hence|then|simply|obviously|certainly"
    r"|indeed|still|actually|surely|undoubtedly|now|an?|the|options?|choice|letter|label|number|answer|class|category"
    r"|case|of|that|to\s+be|in\s+fact|best|described|classified|labell?ed|considered|as|one|die|der|das|eine?|la|le|el|il"
    r"|option|opci\u00f3n|opzione|op\u00e7\u00e3o|antwort|\u0432\u0430\u0440\u0438\u0430\u043d\u0442)(?=\W|\Z))*"
)
_ANSWER_IS = re.compile(
    rf"(?:(?P<final>\b(?:final|overall|ultimate|corrected|revised|definitive)\s+)?\b{_NOUN}[\"']?{_ADJECTIVE}{_ABOUT}{_LINK}"
    rf"|\bcorrect\s*:|[\u2705\u2714\u2611\U0001f449]|\b(?:ist|est|es|\u00e8|\u00e9)\s+(?:die|das|la|el|a|il)\s+(?:\w+\s+)?{_NOUN}\s*:?"
    rf"|(?P<unspaced_final>\u6700\u7ec8|\u6700\u7d42)?{_UNSPACED_NOUN}{_UNSPACED_LINK}"
    rf"|(?P<box>{BOX})){_FILLER}\Z"
)
_CHOOSE = re.compile(
    r"(?:\b(?:i|we|let's|let\s+me|i'd|i'll|i'm|we'd|we'll|therefore|thus|hence)\s+(?:(?!n[o']t)\w+\s+){0,2}?"
    r"(?:choose|pick|select|going\s+with|go\s+with|opt\s+for|settle\s+on|vote\s+for|answer(?:\s+with)?|conclude(?:\s+that"
    r"\s+(?:it|this|the\s+\w+)\s+is)?"
    r"|(?:label|classify|judge|rate|mark)\s+(?:it|this|the\s+\w+)(?:\s+(?:as|to\s+be))?)"
    r"|(?:\A|[.!:\n])\s*(?:choose|pick|select)"
    r"|\u6545\u9009|\u6545\u9078|\u5e94\u9009|\u61c9\u9078|(?<!\u4e0d)\u9009\u62e9|(?<![\u4e0d\u53ef])\u9009"
    rf"):?{_FILLER}\Z"
)
_SAID_BEFORE = re.compile(
    r"(?:\b(?:it|this|that|hypothesis|statement|claim|pair|relationship|relation|sentiment|one|answer)"
    r"(?:'s|\s+(?:is|must\s+be|remains|has\s+to\s+be|can\s+only\s+be)\b)"
    r"|\b(?:so|thus|hence|therefore|making\s+(?:it|this)|makes\s+(?:it|this)|i\s+(?:say|think|believe)|i'd\s+say|namely)\b"
    rf"|\u2192|[-=]>|\u6240\u4ee5|\u56e0\u6b64|\u3088\u3063\u3066|\u3057\u305f\u304c\u3063\u3066),?{_FILLER}\Z"
)
_NOT_A_CHOICE_AFTER = re.compile(
    r"\s*(?:if|only\s+if|when|about|that|in|for|to|as\s+(?:a|an|to)|regarding|concerning|on)\b"
)
_IS_RIGHT = re.compile(
    r"\s*(?:(?:is|must\s+be|has\s+to\s+be|remains|ist|est|es|\u00e9|\u00e8)\s+"
    r"(?:(?:clearly|definitely|indeed|therefore|thus|obviously|certainly|the|my|our|only|single|best|most|one|die|der|la"
    r"|le|el|il)\s+){0,4}"
    r"(?:(?P<adjective>correct|right|accurate|appropriate|suitable|richtig|korrekt|correcte?|correct[ao]|corret[ao]"
    r"|corrett[ao])(?:\s+(?P<of>answer|option|choice|label|one)\b)?"
    r"|(?P<noun>answer|option|choice|label|verdict|antwort|r\u00e9ponse|respuesta|resposta|risposta))\b"
    r"|\s*(?::|-|\u2014|\u2013)\s*(?:correct|right|yes|\u2713|\u2714|\u2705)(?!\w)|\s*(?:\u2713|\u2714|\u2705)"
    r"|\s*(?:\u9879|\u9805)?(?:\u662f|\u4e3a|\u304c)?(?:\u6b63\u786e|\u6b63\u78ba|\u5bf9\u7684|\u6b63\u3057\u3044|\u6b63\u89e3))"
)
_ENDS_CHOICE = re.compile(
    rf"(?:[\"')\]}}]+(?!\w))?\s*(?:\Z|[.,;:!\n|/(\[\u2192{UNSPACED}]|[-\u2013\u2014](?!\w)|\u2013|\u2014"
    r"|(?:because|since|as|for|due|with|where|which|given|and\s+not|not|but|rather|instead|over|based|according|so|here|weil"
    r"|da|denn|car|parce|porque|pois|poich\u00e9|perch\u00e9|omdat|\u043f\u043e\u0442\u043e\u043c\u0443)\b)"
)
"""What may follow a letter, a number or a word such as "no" that is a choice: nothing that it would belong to."""
_ENDS_SAYING = re.compile(
    r"(?:[\"')\]}]+(?!\w))?\s*(?:\Z|[.,;:!\n)]|[-\u2013\u2014](?!\w)"
    r"|(?:because|since|as|given|with\s+respect|here|in\s+this|and\s+not|not|rather|but|so)\b)"
)
_HEAD_END = re.compile(
    r"[\"')\]]*\s*(?:\Z|[.!;:\n)\]]|[-\u2013\u2014](?!\w)|\u2014|\u2192|\(|,?\s*(?:because|since|as|weil|parce|porque)\b)"
)
_BEFORE_HEAD = re.compile(
    r"(?:(?:sure|ok|okay|certainly|of\s+course|great\s+question|alright|yes)\b[^\n]{0,60}[!.:\n,]\s*)?"
    rf"(?:(?:option|choice|answer|letter)\s+)?[\s\"'(\[{BOX}]*\Z"
)
_AFTER_SENTENCE = re.compile(r"[^\W\d_][\"')]*[.!?\u3002][\s\"'(\[]+\Z")
_NUMBERED = re.compile(r"\d+[.)]\s*\S")
_PREFERRED = re.compile(r"[\"')\]]*,?\s+(?:not|rather\s+than|instead\s+of)\s+(?:option\s+)?[\"'(\[]*\w(?!\w)")
_REPEATED_NO = re.compile(r"no,\s+(?:(?:\w+\s+){1,4}?(?:\w+n't|(?:can)?not)\s*(?:[.!\n]|\Z)|not\s+at\s+all\b)")
"""A negation that repeats the label "no", as in "No, it is not."."""
_BEFORE_LINE_HEAD = re.compile(r"(?:\d{1,2}[.)]\s+)?(?:(?:option|choice)\s+)?[\s\"'(\[]*")
_VALUE = re.compile(r"[\"')\]]*\s*[:=]\s*\S|[\"')\]]*\s*\(?\d+(?:\.\d+)?\s?%")
_LINE_HEAD_END = re.compile(
    r"[\"')\]]*[ \t]*\n|[\"')\]]*\s*(?:[.:)]|\s[-\u2013\u2014]|\(|\s(?:is|would|means)\b)[^\n]*\w"
)
_REJECTED_HEAD = re.compile(
    r"[\"')\]]*\s*[:.,\u2014\u2013-]+\s*(?:no\b|not\b|incorrect|wrong|false|nope|\u2717|\u2718|\u274c|too\b|rejected"
    r"|eliminated|unlikely|impossible)"
)


def clarity_of(folded: str, mention: Mention, end: int, *, in_list: bool) -> Clarity:
    """How clearly a text in lower case states a label; `end` is where the label ends with the option's text after it.

    `in_list`: the text goes through the labels one by one, so that the first one is no answer.
    """
    before, after = folded[max(0, mention.start - _WINDOW) : mention.start], folded[end : end + _WINDOW]
    if _is_inquiry(after):
        return Clarity.MENTIONED
    fits = not mention.is_common or end > mention.end or _ENDS_CHOICE.match(after) is not None
    if fits and (said := _as_answer(before)):
        return said
    if _is_alone(folded, mention.start, end) or (fits and _CHOOSE.search(before)):
        return Clarity.CONCLUDED
    if _is_right(after) or (not in_list and _is_head(folded, mention, end)):
        return Clarity.STATED
    if not mention.is_phrase and _SAID_BEFORE.search(before) and _ENDS_SAYING.match(after):
        return Clarity.SAID
    return Clarity.MENTIONED


def heads_line(folded: str, mention: Mention) -> bool:
    """Whether a line goes on about the label that it starts with: "B: too warm"."""
    before = folded[folded.rfind("\n", 0, mention.start) + 1 : mention.start]
    return (
        len(before) < _WINDOW
        and _BEFORE_LINE_HEAD.fullmatch(before) is not None
        and (_LINE_HEAD_END.match(folded, mention.end) is not None)
    )


def has_value(folded: str, mention: Mention) -> bool:
    """Whether something is given for a label, as in a list of all: "A: 10 %, B: 85 %"."""
    return _VALUE.match(folded, mention.end) is not None


def ends_choice(folded: str, end: int) -> bool:
    """Whether what follows a letter at `end` belongs to no phrase with it, as a noun does after an article."""
    return _ENDS_CHOICE.match(folded[end : end + _WINDOW]) is not None


def _as_answer(before: str) -> Clarity | None:
    match = _ANSWER_IS.search(before)
    if match is None or _NOT_THE_ANSWER.search(before[: match.start()]):
        return None
    return Clarity.FINAL if match["final"] or match["unspaced_final"] or match["box"] else Clarity.CONCLUDED


def _is_right(after: str) -> bool:
    after = re.sub(r"\A[\"')\]]+", "", after)
    after = re.sub(r"\A\s*\([^()\n]{1,100}\)", "", after)
    match = _IS_RIGHT.match(after)
    if match is None:
        return False
    return not (match["adjective"] and not match["of"] and _NOT_A_CHOICE_AFTER.match(after, match.end()))


def _is_inquiry(after: str) -> bool:
    return re.match(r"[\"')\]]*\s*[?\uff1f]", after) is not None


def _is_alone(folded: str, start: int, end: int) -> bool:
    """Whether it is all that a line has, or the last sentence."""
    line_start, line_end = folded.rfind("\n", 0, start) + 1, folded.find("\n", end)
    before, after = folded[line_start:start], folded[end : line_end if line_end >= 0 else len(folded)]
    if after.strip(" \t\"'.!)]}*,;:") or len(before) > _WINDOW:
        return False
    return not before.strip(f" \t\"'([{{*-{BOX}") or (line_end < 0 and _AFTER_SENTENCE.search(before) is not None)


def _is_head(folded: str, mention: Mention, end: int) -> bool:
    """Whether the reply begins with it: "B. in the fridge", "Neutral: the premise …"."""
    after = folded[end : end + _WINDOW]
    if mention.start > _WINDOW or _BEFORE_HEAD.fullmatch(folded[: mention.start]) is None:
        return False
    if (mention.is_common and _PREFERRED.match(after)) or _REPEATED_NO.match(folded, mention.start):
        return True
    if _REJECTED_HEAD.match(after) or (mention.is_common and _NUMBERED.match(folded, mention.start)):
        return False
    return end > mention.end or _HEAD_END.match(after) is not None
