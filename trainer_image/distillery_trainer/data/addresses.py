"""Addresses as they may be shown and published."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(uri: str, *, query: str = "") -> str:
    """A URI without the user and password in it, and with `query` in place of its query, because a signed link grants
    access. Only web addresses carry such secrets; other URIs are returned as they are."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return uri
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query=query if parts.query else "", fragment="").geturl()
