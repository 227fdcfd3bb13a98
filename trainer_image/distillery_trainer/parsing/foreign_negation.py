"""Whether a reply in another language than English says that a label is not the answer: in doubt it does."""

from __future__ import annotations

import re

from distillery_trainer.parsing.mentions import UNSPACED

_WINDOW = 60
"""Characters before and after a label that are looked at."""
_WORDS = (
    r"nicht|kein(?:e[nmrs]?)?|weder|niemals|nie|pas|aucune?|ni|jamais|nullement|nunca|ning\u00fan|ninguna?|tampoco"
    r"|no\s+(?:es|est\u00e1|hay|se|son|puede|parece|ser\u00eda)|n\u00e3o|nem|nenhuma?|non|n\u00e9|nessun[oa]?|mai|niet|geen"
    r"|ani|\u017caden|\u043d\u0435|\u043d\u0438|\u043d\u0435\u043b\u044c\u0437\u044f|\u043d\u0435\u0442|inte|ingen|inget"
    r"|ikke|ikkje|tidak|bukan|kh\u00f4ng|\u0644\u064a\u0633|\u0644\u064a\u0633\u062a|\u0644\u0627|\u05dc\u05d0|\u05d0\u05d9\u05df"
)
_TURNS = (
    r"so|but|thus|hence|therefore|sondern|aber|also|daher|deshalb|mais|donc|sino|pero|luego|mas|portanto|logo|ma|quindi|dunque|maar|dus|ale|wi\u0119c"
    r"|\u043d\u043e|\u0430|\u043f\u043e\u044d\u0442\u043e\u043c\u0443|men|utan|s\u00e5|nh\u01b0ng"
)
_SPACED_BEFORE = re.compile(
    rf"(?<!\w)(?:{_WORDS})(?!\w)(?:(?!(?<!\w)(?:{_TURNS})(?!\w))[^.;:!?,\n|\u2013\u2014]){{0,50}}\Z", re.IGNORECASE
)
_UNSPACED_BEFORE = re.compile(
    "(?:\u4e0d|\u975e|\u6ca1|\u6c92|\u65e0|\u7121|\u672a|\u52ff|\u522b|\u5426|\u6392\u9664|\u96e4|\u9664\u4e86"
    "|\u0e44\u0e21\u0e48|\u0e21\u0e34|\u0e2b\u0e32\u0e43\u0e0a\u0e48)"
    "[^.;:!?,\\n\u3002\uff0c\u3001\uff1b\u6240\u56e0\u6545\u800c\u4f46\u5219]{0,8}\\Z"
)
_UNSPACED_AFTER = re.compile(
    "[\"')\\]]*(?:"
    # Japanese and Korean negate at the end, Chinese after the subject.
    f"[{UNSPACED}\"'\\s]{{0,8}}?(?:\u306a\u3044|\u306a\u304f|\u3042\u308a\u307e\u305b\u3093|\u307e\u305b\u3093|\u9055\u3046|\u3046\u305d"
    "|\u4e0d\u5bf9|\u4e0d\u5c0d|\u4e0d\u6b63\u786e|\u4e0d\u6210\u7acb|\u9519|\u932f|\u4e0d\u662f|\u4e0d\u80fd|\u4e0d\u7b26|\u8aa4|\u8bef"
    "|\uc544\ub2c8|\uc544\ub2d9|\uc544\ub2cc|\uc54a|\uc5c6|\u0e1c\u0e34\u0e14|\u0e44\u0e21\u0e48)"
    "|\\s+(?:de\u011fil|\u0928\u0939\u0940\u0902)"
    "|\\s+(?:ist|w\u00e4re|est|serait|es|\u00e9|\u00e8)\\s+(?:falsch|faux|fausse|falso|falsa|incorrecte?|incorrect[ao]"
    "|errad[ao]|sbagliat[ao]|nicht|kein)"
    "|\\s+n'(?:est|y)\\b|\\s+no\\s+es\\b|\\s+n\u00e3o\\s+\u00e9|\\s+non\\s+\u00e8"
    "|\\s+(?:\u043d\u0435|\u043d\u0435\u0432\u0435\u0440\u043d\u043e|\u043d\u0435\u043f\u0440\u0430\u0432\u0438\u043b\u044c\u043d\u043e)\\b)",
    re.IGNORECASE,
)


def is_negated_abroad(text: str, start: int, end: int) -> bool:
    """Whether words of other languages around the label from `start` to `end` negate it."""
    before, after = text[max(0, start - _WINDOW) : start], text[end : end + _WINDOW]
    return bool(_SPACED_BEFORE.search(before) or _UNSPACED_BEFORE.search(before) or _UNSPACED_AFTER.match(after))
