"""Addresses as they may be shown and published."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(uri: str, *, query: str = "") -> str:
    """A remote address without user and password, and with `query` in place of its query, because a signed link grants
    access. A path on this machine stays as it is."""
    if "://" not in uri or uri.startswith("file://"):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:  # no address, but it may hold a secret
        return f"{uri.partition('://')[0]}://…"
    user, _, host = parts.netloc.rpartition("@")
    names_container = parts.scheme not in ("http", "https") and ":" not in user  # abfs://CONTAINER@ACCOUNT
    shown = parts.netloc if names_container else host
    return parts._replace(netloc=shown, query=query if parts.query else "", fragment="").geturl()
