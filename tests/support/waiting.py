"""Wait for something to become true, and say what was seen last when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

POLL_SECONDS = 0.05


def wait_until(check: Callable[[], Found | None], seconds: float = 20.0, what: str = "") -> Found:
    """Call `check` every 50 ms until it returns something truthy, and return that.

    An exception of `check` counts as "not yet" (the object may not exist yet). Raises AssertionError after `seconds`
    with the last thing seen.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen, found = _try(check)
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what or check!r}; last seen: {seen!r}")
        time.sleep(POLL_SECONDS)


def _try(check: Callable[[], Found | None]) -> tuple[object, Found | None]:
    try:
        found = check()
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is reported if it lasts
        return problem, None
    return found, found
