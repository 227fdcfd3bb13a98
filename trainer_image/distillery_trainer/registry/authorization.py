"""How a registry is told who pushes: by name and password, or by a token that its own service gives for these.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

from collections.abc import Generator

import httpx2

from distillery_trainer.registry.challenges import Challenge, challenges_in
from distillery_trainer.registry.credentials import Credentials

_UNAUTHORIZED = 401


class NoToken(Exception):
    """The service that a registry names for its tokens gave none. The message says why."""

    def __init__(self, why: str, response: httpx2.Response | None = None) -> None:
        super().__init__(why)
        self.response = response


class RegistryAuthorization(httpx2.Auth):
    """Answers a registry's challenge, and asks for a new token once the last one has expired."""

    requires_response_body = True

    def __init__(self, credentials: Credentials | None, registry: str, scope: str) -> None:
        """`registry` is a URL of the registry's API: nobody else is told anything."""
        self._credentials, self._origin, self._scope = credentials, origin_of(httpx2.URL(registry)), scope
        self._header: str | None = None

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request, and once more with what the registry asks for. Storage elsewhere that the registry names
        for an upload learns nothing. Raises NoToken."""
        if origin_of(request.url) != self._origin:
            yield request
            return
        if self._header:
            request.headers["authorization"] = self._header
        response = yield request
        if response.status_code != _UNAUTHORIZED:
            return
        self._header = yield from self._answer(response.headers.get("www-authenticate", ""))
        if self._header:
            request.headers["authorization"] = self._header
            yield request

    def _answer(self, header: str) -> Generator[httpx2.Request, httpx2.Response, str | None]:
        """The header that the first challenge asks for that can be met; None where there is none to give."""
        for challenge in challenges_in(header):
            if challenge.scheme == "basic" and self._credentials:
                return self._credentials.basic
            if challenge.scheme == "bearer":
                return _bearer((yield self._token_request(challenge)))
        return None

    def _token_request(self, challenge: Challenge) -> httpx2.Request:
        named = {"service": challenge.parameters["service"]} if "service" in challenge.parameters else {}
        url = self._realm(challenge.parameters.get("realm", "")).copy_merge_params({"scope": self._scope, **named})
        headers = {"authorization": self._credentials.basic} if self._credentials else {}
        return httpx2.Request("GET", url, headers=headers)

    def _realm(self, text: str) -> httpx2.URL:
        """Where tokens are given. The password never goes there in the clear, unless the registry has no TLS either."""
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if not url.host:
            raise NoToken("it does not say where it gives tokens")
        if url.scheme not in {"https", self._origin[0]}:
            where = f"{url.scheme}://{url.netloc.decode()}"
            why = f"it gives tokens at {where}, where the password would be sent in the clear; it must have https"
            raise NoToken(why)
        return url


def origin_of(url: httpx2.URL) -> tuple[str, str]:
    """Scheme, and host with its port unless that is the scheme's own."""
    return url.scheme, url.netloc.decode()


def _bearer(response: httpx2.Response) -> str:
    try:
        content = response.json() if response.is_success else {}
        token = content.get("token") or content.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
        host = response.url.netloc.decode()
        raise NoToken(f"{host} gave no token (HTTP {response.status_code})", response)
    return f"Bearer {token}"
