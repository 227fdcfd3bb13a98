"""What a call without a complete HTTP response means: the server, a proxy or a certificate that stands in between."""

from __future__ import annotations

import aiohttp

from distillery_api.formatting import cleaned
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.runtime.proxies import Proxy
from distillery_trainer.chat.error_responses import CallError, FailureScope, bad_response
from distillery_trainer.chat.response_bodies import BodyTooLong

_CONNECTION_FAILED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)
_NOT_HTTP = (aiohttp.ClientResponseError, aiohttp.http.HttpProcessingError)
_CUT_OFF = (aiohttp.http_exceptions.ContentLengthError, aiohttp.http_exceptions.TransferEncodingError)
_MESSAGE_LIMIT = 300
_PROXY_MAY_RECOVER = (408, 429, 502, 503, 504)


def broken_call(error: Exception, timeout: float, proxy: Proxy | None) -> CallError:
    """The error of a call that failed with an exception, after at most `timeout` seconds."""
    return _no_connection(error, proxy) or _no_http(error) or _no_end(error, timeout)


def _no_connection(error: Exception, proxy: Proxy | None) -> CallError | None:
    if isinstance(error, aiohttp.ClientHttpProxyError) and proxy:
        return _refused_by_proxy(error, proxy)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _untrusted_certificate(error)
    if not isinstance(error, _CONNECTION_FAILED):
        return None
    to_proxy = proxy is not None and isinstance(error, aiohttp.ClientProxyConnectionError)
    return _unreachable(f"The proxy {proxy} cannot be reached" if to_proxy else "Connection failed", error)


def _no_http(error: Exception) -> CallError | None:
    if isinstance(error, BodyTooLong):
        return bad_response("its body is longer than any reply to this request")
    cause = error.__cause__ or error
    if isinstance(cause, _NOT_HTTP) and not isinstance(cause, _CUT_OFF):
        return bad_response(f"not in valid HTTP: {_words(cause)}")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        message = f"Invalid URL: {_words(error)}."
        return CallError(RejectionReason.BAD_URL, message, FailureScope.SERVER, answered=False)
    return None


def _no_end(error: Exception, timeout: float) -> CallError:
    if isinstance(error, TimeoutError):
        message = f"No complete reply within {timeout:g} seconds (generation.requestTimeoutSeconds)."
        return _unfinished(RejectionReason.TIMEOUT, message)
    return _unfinished(RejectionReason.CONNECTION_CLOSED, "The connection was closed before the reply was complete.")


def _unfinished(reason: RejectionReason, message: str) -> CallError:
    """The error of a call that the server may have answered and charged for."""
    return CallError(reason, message, FailureScope.TRANSIENT, answered=False, costs_nothing=False)


def _unreachable(what: str, error: Exception) -> CallError:
    message = f"{what}: {_words(error)}."
    return CallError(RejectionReason.UNREACHABLE, message, FailureScope.TRANSIENT, answered=False, connected=False)


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError, proxy: Proxy) -> CallError:
    """The error of a proxy that did not make the connection (CONNECT)."""
    if error.status in _PROXY_MAY_RECOVER:
        return _unreachable(f"The proxy {proxy} answered HTTP {error.status}", Exception(error.message))
    return CallError(
        RejectionReason.UNREACHABLE,
        f"HTTP {error.status}, from the proxy: {_words(Exception(error.message))}.",
        FailureScope.SERVER,
        answered=False,
        advice=proxy_advice(error.status, proxy),
    )


def proxy_advice(status: int, proxy: Proxy) -> str:
    """What to change where a proxy does not forward requests."""
    if status == 407:
        return (
            f"The proxy {proxy} requires a user and a password: write http://USER:PASSWORD@HOST:PORT in the variable."
        )
    return f"The proxy {proxy} does not forward requests to this server: allow it there, or name it in NO_PROXY."


def unusable_proxy(proxy: Proxy) -> CallError:
    """The error of a call that would go through a proxy of another kind than HTTP."""
    message = f"{proxy} is not the address of an HTTP proxy."
    advice = "Set the variable to http://HOST:PORT, or name the server in NO_PROXY."
    return CallError(RejectionReason.BAD_URL, message, FailureScope.SERVER, answered=False, advice=advice)


def _untrusted_certificate(error: aiohttp.ClientConnectorCertificateError) -> CallError:
    return CallError(
        RejectionReason.UNREACHABLE,
        f"{_words(error.certificate_error)}.",
        FailureScope.SERVER,
        answered=False,
        advice="The server's TLS certificate is not trusted. If a private authority issued it, set SSL_CERT_FILE to a"
        " file with the certificates of all authorities to trust (docs/teachers.md).",
    )


def _words(error: BaseException) -> str:
    return cleaned(str(error), _MESSAGE_LIMIT).rstrip(".") or type(error).__name__
