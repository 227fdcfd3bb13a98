"""When an action that the API server has refused is to be tried again.

What is refused stands in the status; here is only how often it was tried, so that no event brings it forward. A
restarted operator tries each once at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from time import monotonic

from distillery_api.status import Refusal
from distillery_operator.controller.work_queue import Backoff
from distillery_operator.core.refusals import Subject, about

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

WAITS = Backoff(first=5.0, longest=60.0)
"""No event says when a quota, a role or a policy allows what it has refused."""


@dataclass(frozen=True)
class _Tries:
    number: int
    due: float
    """By the monotonic clock."""


class RefusalBackoff:
    """The waits of all refused actions, by Distillation and by what they are about."""

    def __init__(self, clock: Callable[[], float] = monotonic, random: Random | None = None) -> None:
        self._clock, self._random = clock, random or Random()
        self._tries: dict[Key, dict[Subject, _Tries]] = {}

    def keep(self, key: Key, refusals: Iterable[Refusal]) -> None:
        """Forget the tries of all actions but these: the others are not refused any longer."""
        known = self._tries.pop(key, {})
        kept = {about(each): known[about(each)] for each in refusals if about(each) in known}
        if kept:
            self._tries[key] = kept

    def refused(self, key: Key, refusal: Refusal) -> None:
        """The action was tried, and refused."""
        tries = self._tries.setdefault(key, {})
        before = tries.get(about(refusal))
        number = before.number + 1 if before else 1
        tries[about(refusal)] = _Tries(number, self._clock() + WAITS.seconds(number, self._random))

    def is_due(self, key: Key, refusal: Refusal) -> bool:
        """Whether the action is to be tried again now."""
        return self._due_in(key, refusal) <= 0

    def next_due_in(self, key: Key, refusals: Iterable[Refusal]) -> float | None:
        """Seconds until the first of the actions is to be tried again; None where there are none."""
        return min((max(self._due_in(key, each), 0.0) for each in refusals), default=None)

    def _due_in(self, key: Key, refusal: Refusal) -> float:
        tries = self._tries.get(key, {}).get(about(refusal))
        return tries.due - self._clock() if tries else 0.0
