"""What a call without a complete HTTP response means: the server, a proxy or a certificate that stands in between."""

from __future__ import annotations

import socket
import ssl

import aiohttp

from distillery_api.formatting import cleaned
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.runtime.proxies import Proxy
from distillery_trainer.chat.error_responses import CallError, FailureScope, bad_response
from distillery_trainer.chat.response_bodies import BodyTooLong

_CONNECTION_FAILED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)
_NOT_HTTP = (aiohttp.ClientResponseError, aiohttp.http.HttpProcessingError)
_CUT_OFF = (aiohttp.http_exceptions.ContentLengthError, aiohttp.http_exceptions.TransferEncodingError)
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
"""The name does not exist, or has no address. EAI_AGAIN, in contrast, says that no name server answered."""
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
)
_NO_COMMON_TLS = (
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "SSL/TLS_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_UNRECOGNIZED_NAME",
    "TLSV1_ALERT_UNRECOGNIZED_NAME",
)
_MESSAGE_LIMIT = 300
_PROXY_MAY_RECOVER = (408, 429, 502, 503, 504)


def broken_call(error: Exception, timeout: float, proxy: Proxy | None, *, has_answered: bool = False) -> CallError:
    """The error of a call that failed with an exception, after at most `timeout` seconds.

    A server that `has_answered` before has a name and speaks the protocol, so what says otherwise may pass.
    """
    return _no_connection(error, proxy, has_answered=has_answered) or _no_http(error) or _no_end(error, timeout)


def _no_connection(error: Exception, proxy: Proxy | None, *, has_answered: bool) -> CallError | None:
    if isinstance(error, aiohttp.ClientHttpProxyError) and proxy:
        return _refused_by_proxy(error, proxy)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _untrusted_certificate(error)
    if not isinstance(error, _CONNECTION_FAILED):
        return None
    to_proxy = proxy is not None and isinstance(error, aiohttp.ClientProxyConnectionError)
    if not has_answered and (advice := _never_answers(error, proxy if to_proxy else None)):
        return _final(f"Connection failed: {_words(error)}.", advice)
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


def _never_answers(error: Exception, proxy: Proxy | None) -> str | None:
    """What to change where no attempt can succeed; None where one may. `proxy` is where the connection led, if there is
    one."""
    cause = getattr(error, "os_error", None)
    subject = f"the proxy {proxy}" if proxy else "the server"
    if isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME:
        return f"There is no host of this name: correct the address of {subject}."
    if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
        return f"There is no TLS at this port: write http:// in the address of {subject}, or the port for https."
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_COMMON_TLS:
        return f"TLS fails between this client and {subject}: check its host name, and which versions it offers."
    return None


def _final(message: str, advice: str) -> CallError:
    return CallError(RejectionReason.UNREACHABLE, message, FailureScope.SERVER, answered=False, advice=advice)


def _untrusted_certificate(error: aiohttp.ClientConnectorCertificateError) -> CallError:
    return _final(
        f"{_words(error.certificate_error)}.",
        "The server's TLS certificate is not trusted. If a private authority issued it, set SSL_CERT_FILE to a"
        " file with the certificates of all authorities to trust (docs/teachers.md).",
    )


def _words(error: BaseException) -> str:
    return cleaned(str(error), _MESSAGE_LIMIT).rstrip(".") or type(error).__name__
