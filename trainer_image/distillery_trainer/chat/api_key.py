"""Removes the API key from what a server sends, since some repeat it in errors, headers and even replies."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

_REPLACEMENT = "***"
_SHORTEST_KEY = 6
_LONGEST_WORD = 16
_SHORTEST_BASE64 = 8


class KeyRemoval:
    """Replaces an API key by *** in a text, in each form in which a server may write it.

    A placeholder for servers that need no key, such as EMPTY or ollama, is no secret: replacing it would damage texts
    in which that word occurs.
    """

    def __init__(self, api_key: str | None = None) -> None:
        forms = sorted(set(_forms(api_key)), key=len, reverse=True) if api_key and _is_secret(api_key) else []
        self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None
        self._is_unmistakable = api_key is not None and _is_unmistakable(api_key)

    def __call__(self, text: str) -> str:
        """The text without the key."""
        return self._pattern.sub(_REPLACEMENT, text) if self._pattern else text

    def from_reply(self, text: str) -> str:
        """The text of a model without the key. A key that a model may write by itself, such as 123456, stays."""
        return self(text) if self._is_unmistakable else text


def _is_secret(api_key: str) -> bool:
    return len(api_key) >= _SHORTEST_KEY and not (api_key.isalpha() and len(api_key) < _LONGEST_WORD)


def _is_unmistakable(api_key: str) -> bool:
    """Whether no model writes the key by chance: it is long, and has letters and digits."""
    has_both = any(map(str.isalpha, api_key)) and any(map(str.isdigit, api_key))
    return len(api_key) >= _LONGEST_WORD and has_both


def _forms(api_key: str) -> Iterator[str]:
    yield api_key
    yield json.dumps(api_key)[1:-1]
    yield api_key.replace("/", "\\/")
    yield quote(api_key, safe="")
    yield html.escape(api_key)
    yield from (form for form in _base64_forms(api_key.encode()) if len(form) >= _SHORTEST_BASE64)


def _base64_forms(key: bytes) -> Iterator[str]:
    """The characters that stand for the key alone, wherever it begins in a text that is encoded as a whole."""
    for before in range(3):
        first, last = (before * 8 + 5) // 6, (before + len(key)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + key)[first:last].decode()
