"""What the Hub's refusals mean for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_api.spec import Hub
from distillery_trainer.runtime.errors import StageError, TryLater, UserError

_UNKNOWN_TOKEN, _MISSING = 401, 404
_FORBIDDEN = (402, 403, 413, 507)
"""Without the right, or without room: the Hub says which."""
_CHANGED = (409, 412)
_TRANSIENT = (408, 425, 429)
_SERVER_ERROR = 500


@contextmanager
def failures_explained(wanted: Hub, token: str) -> Iterator[None]:
    """Turns what the library raises while it talks to the Hub into a StageError, in which the token does not stand."""
    try:
        yield
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
        cause = _cause(error)
        raise cause if isinstance(cause, StageError) else _explained(wanted, token, cause) from error


def refused(wanted: Hub, why: str) -> StageError:
    """The error for what the user has to change."""
    return UserError(f"publication.hub: {wanted.repository}: {why}", reason=Reason.PUBLISH_FAILED)


def _cause(error: BaseException) -> BaseException:
    """What is behind an error: the library wraps those of its uploads, and with them a request to stop."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _explained(wanted: Hub, token: str, error: BaseException) -> StageError:
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return _refusal(wanted, error.response.status_code, _words(error, token))
    if isinstance(error, OfflineModeIsEnabled):
        return refused(wanted, "HF_HUB_OFFLINE is set, so nothing can be pushed; remove it from the environment.")
    if isinstance(error, HFValidationError):
        return refused(wanted, "this is not a name on the Hub; write ORG/NAME.")
    if isinstance(error, ValueError):  # an answer that the library refuses, or a card that the Hub does
        return refused(wanted, f"the Hub does not accept the student: {_said(str(error), token)}.")
    return _later(wanted, _said(str(error) or type(error).__name__, token))


def _refusal(wanted: Hub, status: int, words: str) -> StageError:
    secret, said = wanted.credentials.secret_name, f"(HTTP {status}: {words})"
    if status == _UNKNOWN_TOKEN:
        return refused(wanted, f"the Hub does not know the token in the Secret {secret} {said}; put a valid one there.")
    if status in _FORBIDDEN:
        return refused(
            wanted,
            f"the Hub does not allow it {said}; the token in the Secret {secret} needs the right to write to this"
            " repository, and to make it where there is none, and its owner needs room for the student.",
        )
    if status in _CHANGED:
        return _later(wanted, f"somebody else has changed the branch {wanted.branch} meanwhile {said}")
    if status in _TRANSIENT or status >= _SERVER_ERROR:
        return _later(wanted, f"the Hub does not do its work {said}")
    if status == _MISSING:
        return refused(wanted, f"the Hub does not find it any more, or the token may not see it {said}.")
    return refused(wanted, f"the Hub does not accept the student {said}.")


def _later(wanted: Hub, why: str) -> StageError:
    message = f"publication.hub: {wanted.repository}: {why}. The next attempt sends only what the Hub lacks."
    return TryLater(message, reason=Reason.PUBLISH_FAILED)


def _words(error: HfHubHTTPError, token: str) -> str:
    """The Hub's own words. The library's hold addresses, and these may hold signatures."""
    return _said(error.server_message or error.response.reason_phrase, token)


def _said(text: str, token: str) -> str:
    return cleaned(" ".join(text.split()).replace(token, "***"), 200).rstrip(".")
