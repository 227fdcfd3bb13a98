"""Addresses as they may be shown and published."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(uri: str, *, query: str = "") -> str:
    """A URI without the password in it, and a web address also without its user and with `query` in place of its query,
    because a signed link grants access."""
    parts = urlsplit(uri)
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https"):  # abfs://CONTAINER@ACCOUNT names no user
        return parts._replace(netloc=host).geturl() if ":" in user else uri
    return parts._replace(netloc=host, query=query if parts.query else "", fragment="").geturl()
