"""Whose turn it is in the rollout of the fleet: one Distillation at a time, and none after one that failed.

Nothing of it is stored. A server stores which rollout of the fleet moved it, so a new process learns from the first
reconciliation of each Distillation who is moving; before `SETTLING_SECONDS` nobody gets a turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from distillery_operator.core.fleet import FleetState

Key = tuple[str, str]

logger = logging.getLogger(__name__)

SETTLING_SECONDS = 60.0
"""How long a new process only observes: by then every Distillation has been reconciled once."""

WAITING_SECONDS = 60.0
"""How soon to ask again who has no turn while nobody has."""


class FleetRollout:
    """The turns of one process. `wake` has a Distillation reconciled."""

    def __init__(self, clock: Callable[[], float], wake: Callable[[Key], None]) -> None:
        self._clock, self._wake, self._since = clock, wake, clock()
        self._moving: Key | None = None
        self._failed: set[Key] = set()
        self._waiting: set[Key] = set()

    def has_turn(self, key: Key, state: FleetState) -> bool:
        """Whether the server of `key`, which is in `state`, is to be moved, or is being moved."""
        if state is FleetState.FAILED:
            self._stop(key)
            return True
        self._failed.discard(key)
        if state is FleetState.MOVING:
            self._moving = self._moving or key
            self._waiting.discard(key)
            return True
        if state is FleetState.CURRENT:
            self.forget(key)
        elif state is FleetState.OUTDATED and self._may_begin(key):
            self._moving = key
        elif state is FleetState.OUTDATED:
            self._waiting.add(key)
        return self._moving == key

    def requeue_seconds(self, key: Key) -> float | None:
        """When to ask again for a turn; None where somebody else's end will."""
        return WAITING_SECONDS if key in self._waiting and self._moving is None and not self._failed else None

    def forget(self, key: Key) -> None:
        """A Distillation that has nothing to do, or is deleted: the next one may begin."""
        self._waiting.discard(key)
        self._failed.discard(key)
        if self._moving == key:
            self._moving = None
            self._wake_next()

    def _may_begin(self, key: Key) -> bool:
        settled = self._clock() - self._since >= SETTLING_SECONDS
        return settled and not self._failed and self._moving in (None, key)

    def _stop(self, key: Key) -> None:
        if key not in self._failed:
            logger.warning("the rollout of the fleet stops: %s/%s could not be moved, and serves as before", *key)
        self._failed.add(key)
        self._waiting.discard(key)
        if self._moving == key:
            self._moving = None

    def _wake_next(self) -> None:
        following = min(self._waiting, default=None)
        if following and not self._failed:
            self._wake(following)
