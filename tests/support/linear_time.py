"""Work whose time grows no faster than its input."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT_SECONDS = 10.0
"""Of processor time: many times what 64 KB take on a slow machine, and less than work that grows with their square."""


@contextmanager
def linear_time() -> Iterator[None]:
    """Fails where the work inside, on some 64 KB, takes so long that its time must grow with a power of its input."""
    started = time.process_time()
    yield
    assert time.process_time() - started < LIMIT_SECONDS
