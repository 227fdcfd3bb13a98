"""Whether the candidate of a canary answers users as well as the stable server: errors and latency, by what the serving
Pods of both have counted since the step began."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.reasons import Reason
from distillery_api.spec import CanaryAnalysis
from distillery_api.status import RequestCounters
from distillery_operator.core.observation import CanaryCounters
from distillery_operator.core.problem import Problem


@dataclass(frozen=True)
class Finding:
    """What the counters say."""

    problem: Problem | None = None
    """Why the candidate has failed."""
    lacks: str | None = None
    """What there is too little of for a verdict."""


def judged(bounds: CanaryAnalysis, start: CanaryCounters, now: CanaryCounters) -> Finding:
    """What the counters since the start of a step say about the candidate."""
    candidate, stable = _since(start.candidate, now.candidate), _since(start.stable, now.stable)
    if candidate.requests < bounds.min_requests:
        return Finding(lacks=f"{candidate.requests} of {bounds.min_requests} requests (minRequests) so far")
    return Finding(_too_many_errors(bounds, candidate) or _too_slow(bounds, candidate, stable))


def has_begun_anew(start: CanaryCounters, now: CanaryCounters) -> bool:
    """Whether a Pod has gone, with what it had counted."""
    pairs = ((start.candidate, now.candidate), (start.stable, now.stable))
    return any(after.requests < before.requests or after.timed < before.timed for before, after in pairs)


def _since(start: RequestCounters, now: RequestCounters) -> RequestCounters:
    return RequestCounters(
        requests=now.requests - start.requests,
        errors=max(now.errors - start.errors, 0),
        timed=now.timed - start.timed,
        seconds=max(now.seconds - start.seconds, 0.0),
    )


def _too_many_errors(bounds: CanaryAnalysis, candidate: RequestCounters) -> Problem | None:
    ratio = candidate.errors / candidate.requests if candidate.requests else 0.0
    if ratio <= bounds.max_error_ratio:
        return None
    message = (
        f"{candidate.errors} of {candidate.requests} requests to the candidate ended with HTTP 5xx, a ratio of"
        f" {ratio:.3g}; maxErrorRatio is {bounds.max_error_ratio:g}"
    )
    return Problem(Reason.CANARY_FAILED, message)


def _too_slow(bounds: CanaryAnalysis, candidate: RequestCounters, stable: RequestCounters) -> Problem | None:
    """Where users have asked the stable server nothing, there is nothing to compare with."""
    if not candidate.timed or not stable.timed or not stable.seconds:
        return None
    seconds, usual = candidate.seconds / candidate.timed, stable.seconds / stable.timed
    if seconds <= bounds.max_latency_ratio * usual:
        return None
    message = (
        f"the candidate takes {seconds:.3g} s for a request on average and the server before it {usual:.3g} s, a ratio"
        f" of {seconds / usual:.3g}; maxLatencyRatio is {bounds.max_latency_ratio:g}"
    )
    return Problem(Reason.CANARY_FAILED, message)
