"""What a response's headers say, read once: typed values of bounded size, without the API key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from urllib.parse import urljoin

from distillery_api.formatting import cleaned
from distillery_trainer.chat.waiting_times import parsed_time, seconds_until
from distillery_trainer.data.addresses import without_secrets

NAME_LIMIT = 200
"""Bytes of an id or a name that a server may choose."""
_ADDRESS_LIMIT = 500
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a server still allows the API key: `x-ratelimit-remaining-requests` and similar headers."""

    remaining: int
    reset_seconds: float
    """Seconds until it is renewed."""


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    """The headers that matter, as far as they can be read."""

    retry_after: float | None = None
    """Seconds that the server asks to wait, which may be infinite; None where it does not ask."""
    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    """For "requests" and "tokens", where the server states them."""
    request_id: str | None = None
    location: str | None = None
    """Where a redirect leads, without user, password and query."""

    @classmethod
    def read(cls, headers: Mapping[str, str], url: str, now: datetime, without_key: Callable[[str], str] = str) -> Self:
        """The headers of a response from `url`. Times are compared with the server's clock where it states it, since
        the local one may be wrong. What cannot be read counts as missing."""
        server_time = parsed_time(headers.get("date", "")) or now
        return cls(
            retry_after=seconds_until(headers.get("retry-after", ""), server_time),
            allowances=_allowances(headers, server_time),
            request_id=cleaned(without_key(headers.get("x-request-id", "")), NAME_LIMIT) or None,
            location=_address(headers.get("location"), url, without_key),
        )


NO_HEADERS = ResponseHeaders()
"""Headers that say nothing that matters."""


def _allowances(headers: Mapping[str, str], now: datetime) -> dict[str, Allowance]:
    """The allowances under OpenAI's or Anthropic's names."""
    allowed = {}
    for unit in ("requests", "tokens"):
        names = f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"
        if names[0] not in headers:
            names = f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset"
        remaining, reset = _count(headers.get(names[0], "")), seconds_until(headers.get(names[1], ""), now)
        if remaining is not None and reset is not None:
            allowed[unit] = Allowance(remaining, reset)
    return allowed


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None


def _address(location: str | None, url: str, without_key: Callable[[str], str]) -> str | None:
    if not location:
        return None
    target = cleaned(without_key(location), _ADDRESS_LIMIT)
    try:
        return without_secrets(urljoin(url, target), query="…")
    except ValueError:  # such as a bracket that is never closed
        return target.partition("?")[0].rpartition("@")[2]
