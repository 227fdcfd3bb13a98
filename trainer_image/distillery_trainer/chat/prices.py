"""What calls cost, in tokens and in money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillery_api.spec.teacher import Pricing

_MILLION = 1_000_000
_DECIMALS = 12
"""Of the smallest price a token, 0.000001 a million, nothing is lost."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens, read and written, and their price."""

    tokens: int = 0
    money: float = 0.0
    """In the currency of the pricing; 0 without one."""

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: Spending) -> Spending:
        return Spending(self.tokens - other.tokens, round(self.money - other.money, _DECIMALS))

    def __neg__(self) -> Spending:
        return Spending(-self.tokens, -self.money)


class Prices:
    """The prices of a model's tokens; without a pricing they are free."""

    def __init__(self, pricing: Pricing | None) -> None:
        self.pricing = pricing
        self._read = pricing.input_per_million / _MILLION if pricing else 0.0
        self._written = pricing.output_per_million / _MILLION if pricing else 0.0
        cached = pricing.cached_input_per_million if pricing else None
        self._cached = self._read if cached is None else cached / _MILLION

    def of(self, read: int, written: int, cached: int = 0) -> Spending:
        """What it costs to read so many tokens, `cached` of them from the server's cache, and to write so many."""
        cached = min(cached, read)
        money = (read - cached) * self._read + cached * self._cached + written * self._written
        return Spending(read + written, round(money, _DECIMALS))

    def at_most(self, read: int, written: int) -> Spending:
        """What it costs at most, whatever the cache costs."""
        money = read * max(self._read, self._cached) + written * self._written
        return Spending(read + written, round(money, _DECIMALS))

    def of_line(self, line: Mapping[str, Any]) -> float:
        """The money of a line of the journal. One without a price counts at today's, its set aside at the dearest."""
        if self.pricing is None:
            return 0.0
        if (cost := line.get("cost")) is not None:
            return float(cost)
        reply = line.get("reply") or {}
        read, written = reply.get("input_tokens") or 0, reply.get("output_tokens") or 0
        beside: int = line.get("spent", 0) - read - written
        dearest = max(self._read, self._cached, self._written)
        money: float = self.of(read, written, reply.get("cached_tokens") or 0).money
        return money + beside * dearest
