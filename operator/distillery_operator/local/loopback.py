"""Requests to our own processes on this machine, which no proxy of the environment can reach."""

from __future__ import annotations

import urllib.request

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def read_url(url: str, timeout: float, limit: int) -> bytes:
    """The first `limit` bytes of a successful response. `timeout` is in seconds. Raises OSError."""
    with _OPENER.open(url, timeout=timeout) as response:
        return bytes(response.read(limit))
