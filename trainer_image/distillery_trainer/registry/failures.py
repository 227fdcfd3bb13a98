"""What a registry's refusals mean for the user."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx2

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import StageError, TryLater, UserError

_TOO_LONG = 413
_REFUSED = (401, 403)
_MISSING = 404
_TRANSIENT = (408, 425, 429)
_SERVER_ERROR = 500


def is_transient(response: httpx2.Response) -> bool:
    """Whether the same request may succeed in a moment."""
    return response.status_code >= _SERVER_ERROR or response.status_code in _TRANSIENT


def is_unknown_user(response: httpx2.Response) -> bool:
    """Whether somebody is not let in."""
    return response.status_code in _REFUSED


def no_registry(repository: str, what: str) -> StageError:
    """The error for something that does not answer as a registry does."""
    return UserError(
        f"serving.modelImage: {repository}: this does not answer as a registry does: {what}. Correct"
        " serving.modelImage.repository, or the registry's settings.",
        reason=Reason.PUBLISH_FAILED,
    )


def refusal(repository: str, secret: str | None, response: httpx2.Response) -> StageError:
    """The error for a response that the same request meets again."""
    return UserError(
        f"serving.modelImage: {repository}: {_why(secret, response)} (HTTP {response.status_code}: {_words(response)})",
        reason=Reason.PUBLISH_FAILED,
    )


def unreachable(repository: str, problem: httpx2.Response | Exception) -> StageError:
    """The error for a registry that did not do its work for a while."""
    if isinstance(problem, httpx2.Response):
        why = f"HTTP {problem.status_code}: {_words(problem)}"
    else:
        why = cleaned(str(problem) or type(problem).__name__, 200)
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return UserError(
            f"serving.modelImage: {repository}: the registry's certificate is not trusted ({why}). Give the operator"
            " its authority (Helm value certificateAuthorities).",
            reason=Reason.PUBLISH_FAILED,
        )
    hint = " It may speak plain HTTP: then set serving.modelImage.plainHTTP." if "SSL" in why else ""
    message = (
        f"serving.modelImage: {repository}: the registry cannot be reached ({why}).{hint} The next attempt retries."
    )
    return TryLater(message, reason=Reason.PUBLISH_FAILED)


def _why(secret: str | None, response: httpx2.Response) -> str:
    if response.status_code in _REFUSED and secret is None:
        return (
            "the registry wants to know who pushes; set serving.modelImage.credentials to a Secret of the type"
            " kubernetes.io/dockerconfigjson"
        )
    if response.status_code in _REFUSED:
        return (
            f"the registry refuses the credentials of the Secret {secret}, or their user may not push there; correct"
            " the Secret, then annotate the Distillation with distillery.dev/retry-at"
        )
    if response.status_code == _MISSING:
        return "the registry does not know this repository; create it there, or correct serving.modelImage.repository"
    if response.status_code == _TOO_LONG:
        return "the registry, or a proxy before it, accepts no layer of this size; raise its limit for request bodies"
    if response.is_redirect:
        return f"it leads to {_origin(response)} instead; name that host where it is the registry{_hint(response)}"
    return "the registry does not accept the image"


def _origin(response: httpx2.Response) -> str:
    """Where a response leads to, without path and query, which may hold secrets."""
    try:
        url = response.request.url.join(response.headers["location"])
    except httpx2.InvalidURL:
        return "an address that is none"
    return f"{url.scheme}://{url.netloc.decode()}"


def _hint(response: httpx2.Response) -> str:
    begins = _origin(response).partition("://")[0]
    return ", without plainHTTP" if begins == "https" and response.request.url.scheme == "http" else ""


def _words(response: httpx2.Response) -> str:
    """The registry's own words."""
    try:
        errors = response.json()["errors"]
        text = "; ".join(f"{each.get('code', '')} {each.get('message', '')}".strip() for each in errors)
    except (ValueError, LookupError, TypeError, AttributeError, httpx2.StreamError):
        text = response.reason_phrase
    for secret in _secrets(response.request.headers.get("authorization", "")):
        text = text.replace(secret, "***")
    return cleaned(text or response.reason_phrase, 200)


def _secrets(authorization: str) -> Iterator[str]:
    """What a registry that repeats what it was told must not have us repeat."""
    scheme, _, value = authorization.partition(" ")
    if value:
        yield value
    if scheme == "Basic":
        yield base64.b64decode(value).decode().partition(":")[2]
