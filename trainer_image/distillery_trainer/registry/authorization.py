"""How a registry is told who pushes: by name and password, or by a token that its own service gives for these.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import re
from collections.abc import Generator
from urllib.parse import urlsplit

import httpx2

from distillery_trainer.registry.credentials import Credentials

_PARAMETER = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_UNAUTHORIZED = 401


class RegistryAuthorization(httpx2.Auth):
    """Answers a registry's challenge, and asks for a new token once the last one has expired."""

    requires_response_body = True

    def __init__(self, credentials: Credentials | None, host: str, scope: str, *, plain_http: bool = False) -> None:
        self._credentials, self._host, self._scope, self._plain_http = credentials, host, scope, plain_http
        self._header: str | None = None

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request, and once more with what the registry asks for. Storage elsewhere that the registry names
        for an upload learns nothing."""
        if request.url.netloc.decode() != self._host:
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

    def _answer(self, challenge: str) -> Generator[httpx2.Request, httpx2.Response, str | None]:
        """The header that a challenge asks for; None where there is none to give."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return self._credentials.basic if self._credentials else None
        parameters = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or not self._may_ask(parameters.get("realm", "")):
            return None
        response = yield self._token_request(parameters)
        return _bearer(response)

    def _may_ask(self, realm: str) -> bool:
        """Whether the password may be sent there: never in the clear, unless the registry itself is."""
        return urlsplit(realm).scheme in (("https", "http") if self._plain_http else ("https",))

    def _token_request(self, parameters: dict[str, str]) -> httpx2.Request:
        query = {"scope": self._scope, **({"service": parameters["service"]} if "service" in parameters else {})}
        headers = {"authorization": self._credentials.basic} if self._credentials else {}
        return httpx2.Request("GET", parameters["realm"], params=query, headers=headers)


def _bearer(response: httpx2.Response) -> str | None:
    try:
        content = response.json() if response.is_success else {}
        token = content.get("token") or content.get("access_token")
    except (ValueError, AttributeError):
        return None
    return f"Bearer {token}" if isinstance(token, str) and token else None
