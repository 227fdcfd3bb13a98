"""Models of the Hugging Face Hub, brought to this machine, and what to do when that fails. Apart from here, every model
is a folder."""

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

_WANTED = ["*.json", "*.safetensors", "*.model", "*.jinja", "merges.txt", "vocab.txt"]


def download(uri: str) -> Path:
    """The local folder of `hf://ORG/NAME[@REVISION]`, from the cache or the Hub.

    Raises UserError where the model, its revision or the permission is missing, TryLater where the Hub is not reached.
    """
    name, _, revision = uri.removeprefix("hf://").partition("@")
    try:
        with storage_errors_explained("the Hub's cache"):
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=_WANTED))
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
        raise _refused(uri, error) from error
    except (OSError, httpx2.HTTPError) as error:  # no answer, a bad one, or offline with nothing in the cache
        raise _unreachable(uri, error) from error


def _refused(uri: str, error: HfHubHTTPError) -> StageError:
    if isinstance(error, GatedRepoError):
        why = "the model is gated; accept its licence and give a Secret with HF_TOKEN in student.credentials."
    elif isinstance(error, RevisionNotFoundError):
        why = "there is no such revision; correct what stands after the @."
    else:
        why = "the Hub knows no such model; correct the name, or give a Secret with HF_TOKEN in student.credentials."
    return UserError(f"student.model.uri: {uri}: {why}", reason=Reason.INVALID_MODEL)


def _unreachable(uri: str, error: Exception) -> StageError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return TryLater(
        f"student.model.uri: {uri}: the Hub cannot be reached ({first_line}). The next attempt tries again; on a"
        " cluster without access to it, put the model on a volume and write pvc://CLAIM/PATH.",
        reason=Reason.INVALID_MODEL,
    )
