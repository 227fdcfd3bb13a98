"""A web server of rows, for fsspec: through the proxy of the environment, without .netrc, and never to another origin.

A redirect could lead a request with its credentials to any server, in the cluster's own network too, or off TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fsspec

from distillery_api.runtime.proxies import proxy_for

if TYPE_CHECKING:
    from aiohttp import ClientMiddlewareType
    from yarl import URL

_CONNECT_SECONDS = 20
READ_SECONDS = 60
"""Maximum time without data from a server within a file."""


class RedirectedAway(Exception):
    """The server redirects to another origin: scheme, host or port."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target
        """The address, without its query."""


def web_server(url: str) -> Any:
    """The fsspec file system for one URL."""
    import aiohttp
    from yarl import URL

    proxy = proxy_for(url)
    options = {
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=READ_SECONDS),
        "trust_env": False,  # it would read .netrc as well
        "proxy": proxy.url if proxy else None,
        # What a server compresses all the same is unpacked within bounds when it is read.
        "headers": {"Accept-Encoding": "identity"},
        "auto_decompress": False,
        "middlewares": (_stay_at(URL(url).origin()),),
    }
    # An instance is made for one URL: its proxy and its origin.
    return fsspec.filesystem("https", client_kwargs=options, skip_instance_cache=True)


def _stay_at(origin: URL) -> ClientMiddlewareType:
    """What every request passes, also the one after a redirect."""

    async def send(request: Any, handler: Any) -> Any:
        if request.url.origin() != origin:
            raise RedirectedAway(str(request.url.with_query(None).with_fragment(None)))
        return await handler(request)

    return send
