"""Downloads models from the Hugging Face Hub, and explains failures. All other modules know models only as folders."""

from __future__ import annotations

from pathlib import Path

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import StageError, TryLater, UserError, storage_errors_explained

_FILE_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.jinja", "merges.txt", "vocab.txt"]


def download(uri: str) -> Path:
    """The local folder of `hf://ORG/NAME[@REVISION]`, from the cache or the Hub.

    Raises UserError if the model, its revision or the permission is missing, TryLater if the Hub cannot be reached.
    """
    name, _, revision = uri.removeprefix("hf://").partition("@")
    try:
        with storage_errors_explained("the Hub's cache"):
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=_FILE_PATTERNS))
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
        raise _refused(uri, error) from error
    except (OSError, httpx2.HTTPError) as error:  # no response, an invalid one, or offline and not in the cache
        raise _unreachable(uri, error) from error


def _refused(uri: str, error: HfHubHTTPError) -> StageError:
    if isinstance(error, GatedRepoError):
        why = "the model is gated; accept its licence, and set student.credentials to a Secret with HF_TOKEN."
    elif isinstance(error, RevisionNotFoundError):
        why = "the revision does not exist; correct the part after the @."
    else:
        why = "no such model, or a private one; correct the name, or set student.credentials to a Secret with HF_TOKEN."
    return UserError(f"student.model.uri: {uri}: {why}", reason=Reason.INVALID_MODEL)


def _unreachable(uri: str, error: Exception) -> StageError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return TryLater(
        f"student.model.uri: {uri}: the Hub cannot be reached ({first_line}). The next attempt retries. In a"
        " cluster without access to the Hub, copy the model to a volume and use pvc://CLAIM/PATH.",
        reason=Reason.INVALID_MODEL,
    )
