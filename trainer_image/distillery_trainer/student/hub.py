"""Downloads models from the Hugging Face Hub, and explains failures. All other modules know models only as folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import constants, list_repo_files, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import StageError, TryLater, storage_errors_explained
from distillery_trainer.student.base_licence import LICENCE_FILES
from distillery_trainer.student.folder_files import WEIGHTS, without_weights
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_digest import MODEL_CARD

_SCHEME = "hf://"
_DESCRIPTION_PATTERNS = ["*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt"]
_FORBIDDEN = (401, 403)


def is_on_hub(uri: str) -> bool:
    """Whether a URI names a model on the Hub."""
    return uri.startswith(_SCHEME)


def download(uri: str) -> Path:
    """The local folder of `hf://ORG/NAME[@REVISION]`, from the cache or the Hub.

    Raises InvalidModel if the model, its revision or the permission is missing, TryLater if the Hub cannot be reached.
    """
    return _download(uri, [*_DESCRIPTION_PATTERNS, WEIGHTS, MODEL_CARD, *LICENCE_FILES])


def download_description(uri: str) -> Path:
    """The same without the weights. Raises InvalidModel as well if the Hub has no weights of the model."""
    names = _names(uri)
    if names and not any(fnmatch(name, WEIGHTS) for name in names):
        raise InvalidModel(uri, without_weights(names))
    return _download(uri, _DESCRIPTION_PATTERNS)


def _names(uri: str) -> list[str]:
    """The files of a model on the Hub; none if the Hub must not be asked."""
    if constants.HF_HUB_OFFLINE:
        return []
    name, revision = _parts(uri)
    with _failures_explained(uri):
        return list(list_repo_files(name, revision=revision))


def _download(uri: str, patterns: list[str]) -> Path:
    name, revision = _parts(uri)
    with _failures_explained(uri), storage_errors_explained("the Hub's cache"):
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))


def _parts(uri: str) -> tuple[str, str | None]:
    name, _, revision = uri.removeprefix(_SCHEME).partition("@")
    return name, revision or None


@contextmanager
def _failures_explained(uri: str) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise InvalidModel(
            uri, "this is not a name on the Hub; use hf://ORG/NAME or hf://ORG/NAME@REVISION."
        ) from error
    except HfHubHTTPError as error:
        raise _refused(uri, error) or _unreachable(uri, error) from error
    except (OSError, httpx2.HTTPError) as error:  # no response, an invalid one, or offline and not in the cache
        raise _unreachable(uri, error) from error


def _refused(uri: str, error: HfHubHTTPError) -> StageError | None:
    if isinstance(error, GatedRepoError):
        why = "the model is gated; accept its licence, and set student.credentials to a Secret with HF_TOKEN."
    elif isinstance(error, RevisionNotFoundError):
        why = "the revision does not exist; correct the part after the @."
    elif isinstance(error, RepositoryNotFoundError):
        why = "no such model, or a private one; correct the name, or set student.credentials to a Secret with HF_TOKEN."
    elif error.response is not None and error.response.status_code in _FORBIDDEN:
        why = (
            f"the Hub refuses access (HTTP {error.response.status_code}); set student.credentials to a Secret whose"
            " HF_TOKEN may read the model."
        )
    else:
        return None
    return InvalidModel(uri, why)


def _unreachable(uri: str, error: Exception) -> StageError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return TryLater(
        f"student.model.uri: {uri}: the Hub cannot be reached ({first_line}). The next attempt retries. In a"
        " cluster without access to the Hub, copy the model to a volume and use pvc://CLAIM/PATH.",
        reason=Reason.INVALID_MODEL,
    )
