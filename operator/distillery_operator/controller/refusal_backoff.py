"""When an action that the API server has refused is to be tried again.

What is refused stands in the status, as far as there is room; here is only how often it was tried, so that no event
brings it forward. A restarted operator tries each once at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from time import monotonic

from distillery_operator.controller.work_queue import Backoff
from distillery_operator.core.refusals import Subject

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

    def keep(self, key: Key, subjects: Iterable[Subject]) -> None:
        """Forget the tries of all actions but these: the others are not wanted any longer, or are to be tried at
        once."""
        known = self._tries.pop(key, {})
        kept = {each: known[each] for each in subjects if each in known}
        if kept:
            self._tries[key] = kept

    def refused(self, key: Key, subject: Subject) -> None:
        """The action was tried, and refused."""
        tries = self._tries.setdefault(key, {})
        number = tries[subject].number + 1 if subject in tries else 1
        tries[subject] = _Tries(number, self._clock() + WAITS.seconds(number, self._random))

    def succeeded(self, key: Key, subject: Subject) -> None:
        """The action was tried, and done."""
        self._tries.get(key, {}).pop(subject, None)

    def is_due(self, key: Key, subject: Subject) -> bool:
        """Whether the action may be tried now."""
        tries = self._tries.get(key, {}).get(subject)
        return tries is None or tries.due <= self._clock()

    def next_due_in(self, key: Key) -> float | None:
        """Seconds until the first refused action is to be tried again; None where none is refused."""
        return min((max(each.due - self._clock(), 0.0) for each in self._tries.get(key, {}).values()), default=None)
