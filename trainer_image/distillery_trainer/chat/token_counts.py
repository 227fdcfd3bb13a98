"""The tokens that a server counts for a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

_MOST = 100_000_000
"""No prompt and no reply has more tokens, so a larger number is no count."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The counts in a completion's `usage`; None for what the server does not count, or not with a whole number."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    """The part of `input` that the server read from its cache."""
    reasoning: int | None = None
    """The part of `output` that is reasoning."""

    @classmethod
    def read(cls, usage: Any) -> Self:
        """The counts in a usage object, which may be anything.

        Some servers count reasoning in the total only, and 0 input tokens means not counted.
        """
        usage = usage if isinstance(usage, dict) else {}
        counted, output = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        if not counted or output is None:
            return cls()
        output = max(output, (_count(usage.get("total_tokens")) or 0) - counted)
        cached = _count(_detail(usage, "prompt", "cached_tokens", usage.get("prompt_cache_hit_tokens")))
        reasoning = _count(_detail(usage, "completion", "reasoning_tokens", None))
        return cls(counted, output, _part(cached, counted), _part(reasoning, output))


def _detail(usage: dict[str, Any], direction: str, name: str, default: Any) -> Any:
    details = usage.get(f"{direction}_tokens_details")
    return details.get(name, default) if isinstance(details, dict) else default


def _count(value: Any) -> int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= _MOST and value == int(value) else None


def _part(part: int | None, whole: int) -> int | None:
    return None if part is None else min(part, whole)
