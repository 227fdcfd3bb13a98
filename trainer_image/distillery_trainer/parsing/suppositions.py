"""Whether a reply only supposes or asks whether a label is the answer: "if it said so, this would be LABEL"."""

from __future__ import annotations

import re

_WINDOW = 160
"""Characters before and after a label that are looked at."""
_SENTENCE_END = re.compile(r"[.!?;\n\u3002\uff01\uff1f](?=\s|\Z|[^\x00-\x7f])|\n")
_CLAUSE_END = re.compile(r"[,:\u2014\u2013\uff0c]|\b(?:but|so|therefore|thus|hence)\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"\b(?:might|may|could(?!\s+only)|perhaps|maybe|possibly|potentially|whether|unless|unsure|either|suppos(?:e|ing)"
    r"|assum(?:e|ing)|imagine|tempt\w*|think\s+of|consider|considered|looks?\s+like|thought|guessed|some\s+(?:people\s+)?\w+"
    r"|people|many|others|(?:na[i\u00ef]ve|careless|hasty|casual|superficial)\s+\w+|one\s+could|would\s+have|(?:decid|choos|choice|torn|toss-up)\w*\s+between|choose\s+from|among|decide\s+if|count\s+as|requires?|need"
    r"|vielleicht|ob|peut-\u00eatre|si|quiz\u00e1s?|tal\s+vez|talvez|forse|\u0432\u043e\u0437\u043c\u043e\u0436\u043d\u043e)\b"
    r"|\u53ef\u80fd|\u4e5f\u8bb8|\u6216\u8bb8|\u5982\u679c|\u82e5|\u662f\u5426|\u3082\u3057|\u0e2d\u0e32\u0e08|\u0e16\u0e49\u0e32",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"\b(?:examples?|for\s+instance|e\.g\.?)\s{0,3}[:,]\W{0,4}\Z", re.IGNORECASE)
_PURPOSE = re.compile(
    r"\s*(?:in\s+order\s+)?(?:for\s+\w+(?:\s+\w+){0,3}\s+)?to\s+(?:be|count|qualify|choose|say)\b", re.IGNORECASE
)
_CONDITION = re.compile(r"\b(?:if|unless|suppose|supposing|assuming|had|were|wenn|falls|si|se)\b", re.IGNORECASE)
_CASE = re.compile(r"\s*(?:if|when|for|to)\b[^,]{1,120},", re.IGNORECASE)
_CONDITIONAL = re.compile(
    r"\b(?:would|could|might|may|should|w\u00e4re|serait|ser\u00eda|seria|sarebbe)\b", re.IGNORECASE
)
_CONDITION_AFTER = re.compile(
    r"[\"')\]]*\s*(?:(?:is|are|would\s+be|holds?|applies|fits)\s+(?:\w+\s+){0,3})?(?:only\s+)?(?:if|unless|when)\b",
    re.IGNORECASE,
)
_SUPPOSED_AFTER = re.compile(
    r"[\"')\]]*\s*\)?\s*(?:would|could|might|may|requires?|needs?|means|refers|describes|implies|wants)\b"
    r"|[\"')\]]*\s+(?:about|towards?|on|regarding)\b[^.!?\n]{1,120}\b(?:but|however|yet|although|while)\b"
    r"|[^.!?\n]{0,12}(?:\u304b\u3082\u3057\u308c|\u3067\u3057\u3087\u3046\u304b)",
    re.IGNORECASE,
)
_INQUIRY = re.compile(r"[^.!\n\u3002?\uff1f]{0,160}[?\uff1f]")


def is_supposed(text: str, start: int, end: int) -> bool:
    """Whether the label from `start` to `end` is only supposed, doubted or asked about."""
    sentence = _last_part(text[max(0, start - _WINDOW) : start], _SENTENCE_END)
    clause, after = _last_part(sentence, _CLAUSE_END), text[end : end + _WINDOW]
    if _INQUIRY.match(after) or _CONDITION_AFTER.match(after) or _SUPPOSED_AFTER.match(after):
        return True
    if _DOUBT.search(clause) or _EXAMPLE.search(sentence) or _PURPOSE.match(sentence) or _CONDITION.search(clause):
        return True
    is_conditional = _CONDITIONAL.search(clause) is not None
    return is_conditional and (_CONDITION.search(sentence) is not None or _condition_follows(after))


def depends(text: str, start: int) -> bool:
    """Whether the sentence of a label begins with a case that it depends on: "If you bake, (A)"."""
    return _CASE.match(_last_part(text[max(0, start - _WINDOW) : start], _SENTENCE_END)) is not None


def _condition_follows(after: str) -> bool:
    return _CONDITION.search(_first_sentence(after)) is not None


def _first_sentence(text: str) -> str:
    found = _SENTENCE_END.search(text)
    return text[: found.start()] if found else text


def _last_part(text: str, end: re.Pattern[str]) -> str:
    ends = [match.end() for match in end.finditer(text)]
    return text[ends[-1] :] if ends else text
