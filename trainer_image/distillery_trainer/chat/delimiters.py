"""Row data between delimiters is data: it cannot close the delimiters itself, so it cannot pose as instructions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from distillery_api.comparable import INVISIBLE
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import text_of

_FULL_WIDTH = 0xFEE0
"""From an ASCII character to its full-width form."""
_INVISIBLE = f"{INVISIBLE}\U000e0000-\U000e007f"
"""With the tag characters, which tell the flags of two labels apart, but do not show in a name."""
_GAP = rf"[\s{_INVISIBLE}]*+"
"""As long as it likes, and possessive: a run that is read once takes linear time."""
_ENTITY = r"&(?:amp;){{0,3}}(?:{name};?|\#0{{0,6}}{decimal};?|\#x0{{0,6}}{hex};?)"
_OPENING = (
    rf"(?:[<\uff1c\u2039\u3008\u27e8\u2329\ufe64\u276e]|{_ENTITY.format(name='lt', decimal=60, hex='3c')}|\\u003c|%3c)"
)
_CLOSING = (
    rf"(?:[>\uff1e\u203a\u3009\u27e9\u232a\ufe65\u276f]|{_ENTITY.format(name='gt', decimal=62, hex='3e')}|\\u003e|%3e)"
)
_SLASHES = rf"(?:(?:[/\uff0f\u2215\u2044\\]|&\#0{{0,6}}47;?|&sol;){_GAP}){{0,3}}"
_ATTRIBUTES = rf"(?:[\s/\uff0f](?:[\s{_INVISIBLE}]++|[^<>\uff1c\uff1e\s{_INVISIBLE}]){{0,200}}?)?"


def neutralised_delimiters(*names: str) -> Callable[[str], str]:
    """A function that replaces `<name>` and `</name>` in a text, and what looks like them, by `(name)` and `(/name)`.

    Look-alikes differ in case, white space, invisible characters, full-width forms, attributes, other angle brackets or
    HTML entities.
    """
    name = "|".join(map(_spelled, names))
    delimiter = re.compile(
        rf"{_OPENING}(?P<inside>{_GAP}{_SLASHES}(?:{name})[{_INVISIBLE}]*+{_ATTRIBUTES}){_CLOSING}", re.IGNORECASE
    )
    return lambda text: delimiter.sub(r"(\g<inside>)", text)


def _spelled(name: str) -> str:
    """A pattern of a name with its letters in ASCII or full width, and invisible characters between them."""
    return f"[{_INVISIBLE}]*+".join(f"[{character}{chr(ord(character) + _FULL_WIDTH)}]" for character in name)


def delimited(parts: dict[str, str]) -> str:
    """Each text between the delimiters of its name, `<name>` and `</name>`, which occur nowhere inside the texts."""
    neutralised = neutralised_delimiters(*parts)
    return "\n".join(f"<{name}>\n{neutralised(text)}\n</{name}>" for name, text in parts.items())


def as_text(messages: Sequence[Message]) -> tuple[str, str]:
    """The instructions of a chat, and its conversation: each turn preceded by its role."""
    system = [text_of(turn) for turn in messages if turn["role"] == "system"]
    turns = [f"{turn['role']}: {text_of(turn)}" for turn in messages if turn["role"] != "system"]
    return "\n\n".join(system), "\n\n".join(turns)
