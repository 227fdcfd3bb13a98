"""Reads the bodies of responses, in bounded memory however much they unpack to."""

from __future__ import annotations

import aiohttp

_LEAST = 1024 * 1024
_MOST = 64 * 1024 * 1024
_BYTES_PER_TOKEN = 1024
"""In a stream, a token has a chunk of JSON around it."""
_MOST_AT_ONCE = 128 * 1024 * 1024
"""Bytes that all bodies of a server together may have while they are read."""
_ERROR_LIMIT = 128 * 1024


class BodyTooLong(Exception):
    """A body is longer than a reply can be."""


class BodyReader:
    """Reads bodies in pieces, as aiohttp unpacks them: gzip makes a gigabyte of a megabyte."""

    def __init__(self, max_output_tokens: int | None) -> None:
        tokens = _MOST if max_output_tokens is None else max_output_tokens
        self._limit = min(_MOST, _LEAST + tokens * _BYTES_PER_TOKEN)
        self._held = 0

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body of a reply. Raises BodyTooLong, and what aiohttp raises."""
        body = bytearray()
        try:
            async for piece in response.content.iter_any():
                body += piece
                self._held += len(piece)
                if len(body) > self._limit or self._held > _MOST_AT_ONCE:
                    raise BodyTooLong
        finally:
            self._held -= len(body)
        return bytes(body)

    async def read_beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """As much of an error's body as it takes to find its message."""
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) >= _ERROR_LIMIT:
                break
        return bytes(body[:_ERROR_LIMIT])
