"""How texts and amounts are shown to people."""

from __future__ import annotations

import math
import re
import unicodedata

_TERMINAL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,32}[ -/]{0,8}[@-~]?"  # CSI: colours, cursor
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]{0,512}(?:\x07|\x1b\\|\x9c)?"  # OSC and other strings: titles
    r"|\x1b[ -/]{0,8}[0-~]?"
)
"""ECMA-48, sections 5.3 to 5.6. Bounded, so that a sequence without an end takes no time."""
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories without a visible character: controls, directions of writing, halves of a character, line ends."""
_JOINERS = frozenset("\u200c\u200d")
"""They join letters of Persian and Indic scripts, and emoji."""
_BYTES_READ_PER_BYTE_SHOWN = 16
"""How much of a foreign text is looked at, so that a text of any length takes no time."""


def shortened(text: str, limit: int) -> str:
    """`text`, cut to at most `limit` UTF-8 bytes with an ellipsis where it was longer."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def cleaned(text: str, limit: int) -> str:
    """Text that somebody else wrote (a server, a program, a file), as people may be shown it: one line without terminal
    sequences and other hidden characters, cut to at most `limit` UTF-8 bytes.

    Shown as it is, such a text could move a terminal's cursor, change what stands before it or reverse its order.
    """
    beginning = text[: limit * _BYTES_READ_PER_BYTE_SHOWN]
    visible = " ".join(without_hidden_characters(" ".join(beginning.split())).split())
    return shortened(f"{visible}…" if len(text) > len(beginning) else visible, limit)


def without_hidden_characters(text: str) -> str:
    """`text` without terminal sequences and other hidden characters; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    visible = _TERMINAL_SEQUENCE.sub("", valid_unicode(text))
    return "".join(character for character in visible if character in "\n\t" or not _is_hidden(character))


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN_CATEGORIES and character not in _JOINERS


def valid_unicode(text: str) -> str:
    """`text` with U+FFFD in place of each half of a surrogate pair that lacks the other one, since no file can hold it.

    Two halves side by side become the character that they stand for.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def format_cost(amount: float) -> str:
    """An amount with two decimals, small ones with as many as it takes to show two digits."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.{max(2, 1 - math.floor(math.log10(amount)))}f}"
