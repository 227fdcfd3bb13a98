"""How the served student answered rows of the evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import LenientModel

BUSY_LOAD = 0.5
"""Share of the machine's CPUs. Where other processes use as much or more, it is busy, and latencies say little."""


class Measurement(LenientModel):
    """The speed of the served student, measured for a few seconds after its rollout."""

    tokens_per_second: float
    """Output tokens per second of one client."""
    concurrent_requests: int
    """Number of clients at a time, each of which sends the next request after a reply. The figures below are theirs."""
    concurrent_tokens_per_second: float
    """Output tokens per second of all clients together."""
    requests_per_second: float
    """Replies per second to all clients together."""
    latency_p50_seconds: float
    """Median latency, in seconds."""
    latency_p95_seconds: float
    """95th percentile of the latency, in seconds."""
    requests: int
    """Number of requests."""


class Verification(LenientModel):
    """Rows of the evaluation that the served student was asked through its own HTTP server, and its latency there."""

    rows: int
    """Number of rows that were asked."""
    alike: int
    """Number of rows that it answered as in the evaluation."""
    required_share: float
    """Share of the rows that must be answered as in the evaluation: 0.95 for labels and numbers, 0.5 for prose."""
    latency_seconds: float
    """Median latency of a request, in seconds, with one request at a time."""
    calls: int
    """Number of requests that were timed."""
    other_load: float | None = None
    """Share of the machine's CPUs that other processes used meanwhile; absent if unknown."""
    busy: bool = False
    """Whether the machine was busy meanwhile, so that the latency says little."""
    measurement: Measurement | None = None
    """The speed for one and for several clients; absent where the server counts no tokens or is too slow to ask."""
    server: Annotated[str, Field(max_length=1024)] | None = None
    """Digest of the server's Pod template."""

    @property
    def is_alike_enough(self) -> bool:
        """Whether enough rows were answered as in the evaluation."""
        return self.alike >= self.required_share * self.rows

    def sentence(self) -> str:
        """The figures in words, such as `16 of 16 rows answered as in the evaluation; 0.18 s per request`."""
        return f"{self.alike} of {self.rows} rows answered as in the evaluation; {self.latency()} per request"

    def latency(self) -> str:
        """The latency, with a word where the machine was busy."""
        return f"{self.latency_seconds:.2f} s{' (machine busy)' if self.busy else ''}"
