"""Prose without the marks that emphasise it: Markdown, HTML and LaTeX."""

from __future__ import annotations

import re

BOX = "\ue000"
"""Stands before what a reply puts into \\boxed{} or <answer>."""

_BOXED = re.compile(
    r"\\(?:boxed|fbox)\s{0,3}\{([^{}\n]{0,200}(?:\{[^{}\n]{0,200}\}[^{}\n]{0,200}){0,3})\}"
    r"|<(?:final_)?answer>\s{0,20}([^<>]{0,400}?)\s{0,20}</(?:final_)?answer>",
    re.IGNORECASE,
)
_LATEX_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|tt)?|math(?:rm|bf|it|sf)|emph|operatorname)\s{0,3}\{([^{}\n]{0,200})\}")
_STRUCK_OUT = re.compile(r"~~[^~\n]{1,200}~~|<(?P<tag>s|del|strike)>[^<>]{1,200}</(?P=tag)>")
_TAG = re.compile(r"</?(?:b|strong|i|em|u|code|p|br|span|mark|div)(?:\s[^<>]{0,80})?/?>", re.IGNORECASE)
_LINE_MARK = re.compile(r"^[ \t]{0,20}(?:#{1,6}(?=\s)|>|[-*+\u2022](?=\s+(?!\d)))[ \t]{0,20}", re.MULTILINE)
_EMPHASIS = re.compile(
    r"(?<![a-zA-Z0-9*])(?P<stars>\*{1,3})(?=[^\s*])(?P<starred>[^\n]{1,300}?)(?<=\S)(?P=stars)(?!\*)"
    r"|(?<!\w)(?P<lines>_{1,3})(?=[^\s_])(?P<lined>[^\n]{1,300}?)(?<=\S)(?P=lines)(?!\w)"
    r"|(?P<ticks>`{1,3}|\$)(?=[^\s`$])(?P<coded>[^\n`$]{1,300}?)(?P=ticks)"
)
_LEFT_OVER = "*`"


def without_markup(text: str, *, kept: str = "") -> str:
    """The text without emphasis, and without what is struck out; `BOX` stands before what is in a box.

    `kept`: marks that stay where they surround nothing, because they may be part of a label such as A*.
    """
    text = _BOXED.sub(lambda box: f"{BOX}{box[1] or box[2] or ''} ", text)
    text = _TAG.sub("", _STRUCK_OUT.sub("", _LATEX_TEXT.sub(r"\1", text)))
    text = _EMPHASIS.sub(_inner, _LINE_MARK.sub("", text))
    return text.translate({ord(mark): None for mark in _LEFT_OVER if mark not in kept})


def _inner(emphasis: re.Match[str]) -> str:
    return emphasis["starred"] or emphasis["lined"] or emphasis["coded"]
