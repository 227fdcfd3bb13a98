"""Responses of a registry, in bounded memory however long they are: all that a push reads are short documents."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2

MOST_BYTES = 1024 * 1024
"""Tokens and errors have some kilobytes."""


def bounded_client(auth: httpx2.Auth, timeout: httpx2.Timeout) -> httpx2.Client:
    """A client that follows no redirect, and raises ReadError where a response is longer than MOST_BYTES."""
    headers = {"accept-encoding": "identity"}
    return httpx2.Client(auth=auth, timeout=timeout, headers=headers, event_hooks={"response": [_bound]})


def _bound(response: httpx2.Response) -> None:
    response.headers.pop("content-encoding", None)  # Unpacked, a short response may be a long one.
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MOST_BYTES
        for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx2.ReadError("the response is too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()
