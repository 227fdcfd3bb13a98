"""Which proxy a request goes through, as the environment says: http_proxy, HTTPS_PROXY, NO_PROXY and so on."""

from __future__ import annotations

import ipaddress
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Proxy:
    """A proxy and the environment variable that names it."""

    url: str
    """Its address, which may hold a user and a password."""
    variable: str
    """Such as HTTPS_PROXY; in capitals, however it is written in the environment."""

    def __str__(self) -> str:
        """The proxy for messages, without user and password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]} ({self.variable})"

    @property
    def is_usable(self) -> bool:
        """Whether it is the address of an HTTP proxy, and not of a SOCKS proxy or none at all."""
        try:
            parts = urlsplit(self.url)
            return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
        except ValueError:
            return False


def proxy_for(url: str) -> Proxy | None:
    """The proxy for requests to a URL; None where they go to the server itself, as they always do on this machine."""
    parts = urlsplit(url)
    if is_local(parts.hostname or "") or urllib.request.proxy_bypass(parts.netloc):
        return None
    named = urllib.request.getproxies()
    scheme = parts.scheme if named.get(parts.scheme) else "all"
    address = named.get(scheme)
    if not address:
        return None
    return Proxy(address if "://" in address else f"http://{address}", f"{scheme}_proxy".upper())


def is_local(host: str) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8, ::1 or the address of every interface. No proxy can
    reach it."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified
