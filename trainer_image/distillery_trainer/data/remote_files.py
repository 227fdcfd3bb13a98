"""Files on servers, downloaded to this machine: https, S3, Google Cloud Storage, Azure, and the Hugging Face Hub.

Credentials come from environment variables only, with the names that each provider's own tools use.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_api.runtime.atomic_files import TEMPORARY_SUFFIX, make_folder
from distillery_trainer.data.web_server import READ_SECONDS, RedirectedAway, web_server
from distillery_trainer.runtime.errors import StageError, TryLater, UserError, storage_errors_explained

_BACK_OFFS = (0.5, 3.0)
"""Seconds before each retry."""
_CHUNK = 4 * 1024 * 1024
"""Bytes read at a time."""
_SHOWN_CHARACTERS = 300
"""Maximum length of a server's or a library's message in an error."""
_NOT_FOUND = {404, 410}
_DENIED = {401, 403}
_TRANSIENT = {408, 429}
_STATUS = re.compile(r"status code: (\d{3})|HTTP(?: error)? (\d{3})")
_UNKNOWN_HOST = re.compile(r"dns error|getaddrinfo|[Nn]ame or service not known|Name does not resolve|Cannot resolve")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\")]*")
_METADATA_PATHS = ("/latest/api/token", "/latest/meta-data", "computeMetadata", "/metadata/identity")
"""Paths that a library requests from a cloud's metadata server if no credentials are given."""
T = TypeVar("T")
_WRONG_REGION = "incorrectly configured region"


# --- schemes


@dataclass(frozen=True)
class _Scheme:
    """How files of one URL scheme are read."""

    variables: str
    """The keys of a Secret with credentials."""
    file_system: Callable[[str], Any]
    """The fsspec file system for a URL."""
    options: Mapping[str, Any]
    """Options for opening a file."""


def _object_store(protocol: str) -> Callable[[str], Any]:
    def make(_: str) -> Any:
        from obstore import fsspec as object_stores

        # The file may be large, so a request may take long. A private store's endpoint may use plain HTTP.
        client = {
            "timeout": timedelta(hours=1),
            "read_timeout": timedelta(seconds=READ_SECONDS),
            "allow_http": True,
        }
        retries = {"max_retries": 3, "retry_timeout": timedelta(minutes=2)}
        store: Any = object_stores.FsspecStore
        # A cached instance would keep the credentials that it was created with.
        return store(protocol, client_options=client, retry_config=retries, skip_instance_cache=True)

    return make


def _hub(_: str) -> Any:
    return fsspec.filesystem("hf")


# No range requests, which some servers do not support; with a size given, no request for it hides later errors.
_IN_ONE_STREAM = {"block_size": 0, "size": 1}
_SCHEMES = {
    "https": _Scheme('FSSPEC_HTTPS, as {"headers": {"Authorization": "Bearer …"}}', web_server, _IN_ONE_STREAM),
    "s3": _Scheme("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", _object_store("s3"), {"buffer_size": _CHUNK}),
    "gs": _Scheme("GOOGLE_SERVICE_ACCOUNT_KEY", _object_store("gs"), {"buffer_size": _CHUNK}),
    "abfs": _Scheme(
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY", _object_store("abfs"), {"buffer_size": _CHUNK}
    ),
    "hf": _Scheme("HF_TOKEN", _hub, {"block_size": 0}),
}
_SCHEMES["http"] = _SCHEMES["https"]


def is_remote(uri: str) -> bool:
    """Whether a URI names a file on a server."""
    return uri.partition("://")[0] in _SCHEMES


# --- downloading


class Download:
    """A downloaded file, a part of a file without a name, which is gone when the process ends."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size = file, start, size

    def opened(self) -> BinaryIO:
        """Its bytes, from the start; several readers may be open at once."""
        return io.BufferedReader(_PartReader(self._file, self._start, self._size), _CHUNK // 16)


class _PartReader(io.RawIOBase):
    """A reader with its own position in a part of a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        rest = memoryview(buffer)[: max(0, self._size - self._position)]
        count = os.preadv(self._file.fileno(), [rest], self._start + self._position) if rest else 0
        self._position += count
        return count


class Downloads:
    """Downloads files into one file in `folder`, where they stay while the process lives. There may be thousands of
    them, more than a process may have open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def fetch(self, url: str, subject: str) -> Download:
        """Download a file. Error messages begin with `subject`.

        Raises UserError if the file does not exist or access is denied, or if the volume is full; TryLater if the
        server cannot be reached.
        """
        sys.stderr.write(f"{subject}: downloading …\n")
        file = self._file = self._file or _unnamed_file(self._folder)
        start = file.seek(0, os.SEEK_END)
        retried(lambda: _fetch(url, subject, file, start))
        return Download(file, start, file.tell() - start)


def read_file(url: str, subject: str, limit: int) -> bytes:
    """The bytes of a small file, `limit` of them at most. Raises what `Downloads.fetch` raises."""

    def attempt() -> bytes:
        with server_errors_explained(url, subject):
            file_system, path = file_system_of(url)
            with file_system.open(path, "rb", **_scheme_of(url).options) as stream:
                return _beginning(stream, limit)

    return retried(attempt)


def _beginning(stream: BinaryIO, limit: int) -> bytes:
    content = bytearray()
    while len(content) < limit and (chunk := stream.read(min(_CHUNK, limit - len(content)))):
        content += chunk
    return bytes(content)


def _unnamed_file(folder: Path) -> BinaryIO:
    """A new file without a name. Until it loses that it has a draft's, so that one left by a killed process is removed
    by the next."""
    with storage_errors_explained(str(folder)):
        make_folder(folder, private=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".source.", suffix=TEMPORARY_SUFFIX)
    os.unlink(name)  # an open file stays readable, and is removed when the process ends
    return os.fdopen(descriptor, "w+b")


def retried(attempt: Callable[[], T]) -> T:
    """What the attempt returns, after at most two more tries. Raises its last error."""
    for retry_delay in _BACK_OFFS:
        try:
            return attempt()
        except TryLater as error:
            sys.stderr.write(f"{error.message} Retrying in {retry_delay:g} s.\n")
            time.sleep(retry_delay)
    return attempt()


@contextlib.contextmanager
def server_errors_explained(url: str, subject: str) -> Iterator[None]:
    """Turns the errors of the libraries that speak to servers into UserError and TryLater."""
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # each library has its own errors, without a common class
        raise _stage_error(error, subject, _scheme_of(url)) from error


def file_system_of(url: str) -> tuple[Any, str]:
    """The fsspec file system for a URL, and the path there."""
    return _scheme_of(url).file_system(url), url if url.startswith("http") else url.partition("://")[2]


def _scheme_of(url: str) -> _Scheme:
    return _SCHEMES[url.partition("://")[0]]


def _fetch(url: str, subject: str, file: BinaryIO, start: int) -> None:
    file.seek(start)
    file.truncate()
    with server_errors_explained(url, subject):
        file_system, path = file_system_of(url)
        before = _version(file_system, path)
        with file_system.open(path, "rb", **_scheme_of(url).options) as stream:
            _copy(stream, file)
        changed = before != _version(file_system, path)
    if changed:
        raise TryLater(f"{subject}: the file changed during the download.", reason=Reason.DATA_UNREACHABLE)


def _version(file_system: Any, path: str) -> object:
    """What identifies the content of a file, if it is read in several requests."""
    from obstore.fsspec import FsspecStore

    if not isinstance(file_system, FsspecStore):
        return None
    found = file_system.info(path)
    return found["type"], found["size"], found.get("e_tag")


def _copy(stream: BinaryIO, file: BinaryIO) -> None:
    while chunk := stream.read(_CHUNK):
        with storage_errors_explained("The workspace, to which the data is copied,"):
            file.write(chunk)
            file.flush()


# --- errors


def _stage_error(error: Exception, subject: str, scheme: _Scheme) -> StageError:
    """A stage error for a library's error."""
    if problem := _redirect(error) or _permanent_problem(error, scheme):
        return UserError(f"{subject}: {problem}", reason=Reason.INVALID_DATA)
    if _UNKNOWN_HOST.search(str(error)):
        cause = "the server's name cannot be resolved; correct it, or check the network"
    else:
        cause = f"the file cannot be read from the server ({_first_line(error)})"
    return TryLater(f"{subject}: {cause}. The next attempt will try again.", reason=Reason.DATA_UNREACHABLE)


def _redirect(error: Exception) -> str | None:
    if not isinstance(error, RedirectedAway):
        return None
    return f"the server redirects to another one, {cleaned(error.target, _SHOWN_CHARACTERS)}; use that address."


def _permanent_problem(error: Exception, scheme: _Scheme) -> str | None:
    """Why a server refuses the file, and what to do; None if a retry may succeed."""
    text, status = str(error), _status(error)
    remedy = f"Name a Secret with {scheme.variables} in data.credentials."
    if any(path in text for path in _METADATA_PATHS):
        return f"credentials are missing. {remedy}"
    if _WRONG_REGION in text:
        return "the bucket is in another region. Name a Secret with AWS_REGION in data.credentials."
    if isinstance(error, FileNotFoundError) or status in _NOT_FOUND:
        return "the file does not exist."
    if isinstance(error, PermissionError) or status in _DENIED:
        return f"access is denied ({f'HTTP {status}' if status else _first_line(error)}). {remedy}"
    if status and 300 <= status < 500 and status not in _TRANSIENT:
        return f"the server refuses the request: {_first_line(error)}."
    return None


def _status(error: Exception) -> int | None:
    """The HTTP status of an error."""
    candidates = (
        getattr(error, "status", None),
        getattr(error, "status_code", None),
        getattr(getattr(error, "response", None), "status_code", None),
    )
    known = next((status for status in candidates if isinstance(status, int)), None)
    if known is not None:
        return known
    match = _STATUS.search(str(error))
    return int(match[1] or match[2]) if match else None


def _first_line(error: Exception) -> str:
    """The first line of a library's message, without the signatures of links."""
    lines = str(error).strip().splitlines()
    first = _QUERY.sub(r"\1?…", lines[0].rstrip(".")) if lines else type(error).__name__
    return cleaned(first, _SHOWN_CHARACTERS)
