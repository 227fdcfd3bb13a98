"""Where the requests to a model are sent, and with which headers: the API key and what the manifest adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from distillery_api.spec.endpoints import is_azure_deployment
from distillery_api.spec.fields import SecretKeyReference
from distillery_api.spec.request_options import Header, QueryParameter

SecretValue = Callable[[SecretKeyReference], str]
"""The value of a Secret's key."""
_SAFE = "-._~$:@!*(),/"
"""Characters that stay as they are in a parameter of a URL."""


@dataclass(frozen=True)
class RequestTarget:
    """An address and what is sent there besides the body."""

    url: str = field(repr=False)
    """Of the operation, with its parameters, which may be secret."""
    shown_url: str
    """The same without parameters."""
    headers: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """What no message may show."""


def request_target(
    url: str,
    api_key: str | None,
    headers: Sequence[Header] = (),
    query: Sequence[QueryParameter] = (),
    secret_value: SecretValue | None = None,
) -> RequestTarget:
    """The target of a model at a base URL, or at the target URI of a deployment on Azure."""
    header_values = {each.name: _value(each, secret_value) for each in headers}
    values = [_value(each, secret_value) for each in query]
    in_azure = is_azure_deployment(url)
    own_key = any(each.name.lower() == "authorization" for each in headers)
    operation = url if in_azure else f"{url.rstrip('/')}/chat/completions"
    parameters = [
        f"{quote(each.name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for each, value in zip(query, values, strict=True)
    ]
    secrets = [
        api_key,
        *(header_values[each.name] for each in headers if each.secret is not None),
        *(value for each, value in zip(query, values, strict=True) if each.secret is not None),
    ]
    return RequestTarget(
        url=_with_parameters(operation, parameters),
        shown_url=operation.partition("?")[0],
        headers={**({} if own_key else _key_header(api_key, in_azure=in_azure)), **header_values},
        secrets=tuple(secret for secret in secrets if secret),
    )


def _with_parameters(url: str, parameters: Sequence[str]) -> str:
    if not parameters:
        return url
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(parameters)}"


def _key_header(api_key: str | None, *, in_azure: bool) -> dict[str, str]:
    if api_key is None:
        return {}
    return {"api-key": api_key} if in_azure else {"Authorization": f"Bearer {api_key}"}


def _value(given: Header | QueryParameter, secret_value: SecretValue | None) -> str:
    if given.secret is not None and secret_value is not None:
        return secret_value(given.secret)
    return given.value or ""
