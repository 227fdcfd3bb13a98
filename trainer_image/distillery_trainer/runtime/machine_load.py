"""How busy this machine is with other things."""

from __future__ import annotations

import os
from pathlib import Path

_LOAD = Path("/proc/loadavg")


def other_load() -> float | None:
    """The share of the machine's CPUs that other processes than this one use, or wait for, at this moment; None where
    the system does not say. 1 is the maximum."""
    try:
        running = int(_LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, LookupError, ValueError):
        return None
    return min(1.0, max(0, running - 1) / (os.cpu_count() or 1))
