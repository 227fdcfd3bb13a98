"""Removes the API key, and other secrets of a request, from what a server sends, since some repeat them in errors,
headers and even replies."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

_REPLACEMENT = "***"
_SHORTEST_KEY = 6
_LONGEST_WORD = 16
_SHORTEST_BASE64 = 8


class KeyRemoval:
    """Replaces secrets by *** in a text, in each form in which a server may write them.

    A placeholder for servers that need no key, such as EMPTY or ollama, is no secret: replacing it would damage texts
    in which that word occurs.
    """

    def __init__(self, *secrets: str | None) -> None:
        known = [secret for secret in secrets if secret and _is_secret(secret)]
        self._pattern = _pattern(known)
        self._unmistakable = _pattern(filter(_is_unmistakable, known))

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(_REPLACEMENT, text) if self._pattern else text

    def from_reply(self, text: str) -> str:
        """The text of a model without the secrets. One that a model may write by itself, such as 123456, stays."""
        return self._unmistakable.sub(_REPLACEMENT, text) if self._unmistakable else text


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """What matches the secrets in all their forms, the longest first; None if there are none."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, forms))) if forms else None


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
