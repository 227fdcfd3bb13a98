"""What a registry's header WWW-Authenticate asks for. It may offer several ways at once, in one header or in several.

https://www.rfc-editor.org/rfc/rfc9110#name-www-authenticate
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?=\s|,|$)(?!\s*=)")
_TOKEN = re.compile(rf"{_PARAMETER.pattern}|{_SCHEME.pattern}")


@dataclass(frozen=True)
class Challenge:
    """One way in which a registry wants to be told who asks."""

    scheme: str
    """In lower case, such as basic or bearer."""
    parameters: dict[str, str] = field(default_factory=dict)
    """By name in lower case, such as realm."""


def challenges_in(header: str) -> Iterator[Challenge]:
    """The challenges of a header, in their order; several headers are joined by commas."""
    current: Challenge | None = None
    for name, quoted, plain, scheme in _TOKEN.findall(header):
        if scheme:
            if current:
                yield current
            current = Challenge(scheme.lower())
        elif current:
            current.parameters[name.lower()] = quoted or plain
    if current:
        yield current
