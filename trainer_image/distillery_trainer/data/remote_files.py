"""Files on servers, brought to this machine: https, S3, Google Cloud Storage, Azure, and the Hugging Face Hub.

Credentials come from environment variables alone, by the names that each provider's own tools use.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from distillery_api.reasons import Reason
from distillery_api.runtime.atomic_files import DRAFT_SUFFIX
from distillery_trainer.runtime.errors import StageError, TryLater, UserError, storage_errors_explained

_CONNECT_SECONDS = 20
_READ_SECONDS = 60
"""Longest silence of a server in the middle of a file."""
_PAUSES = (0.5, 3.0)
"""Seconds before a file is asked for once more."""
_CHUNK = 4 * 1024 * 1024
"""Bytes read at once."""
_SHOWN = 300
"""Characters of a server's own words."""
_NOT_FOUND = {404, 410}
_DENIED = {401, 403}
_PASSING = {408, 429}
_STATUS = re.compile(r"status code: (\d{3})|HTTP(?: error)? (\d{3})")
_UNKNOWN_HOST = re.compile(r"dns error|getaddrinfo|[Nn]ame or service not known|Name does not resolve|Cannot resolve")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\")]*")
_METADATA = ("/latest/api/token", "/latest/meta-data", "computeMetadata", "/metadata/identity")
"""What a library asks a cloud's own machines for where no credentials are given."""
_WRONG_REGION = "incorrectly configured region"


# --- which files these are


@dataclass(frozen=True)
class _Scheme:
    """How one kind of server is read."""

    variables: str
    """What a Secret with credentials holds."""
    file_system: Callable[[], Any]
    """The fsspec file system."""
    options: Mapping[str, Any]
    """What it needs to open a file."""


def _object_store(protocol: str) -> Callable[[], Any]:
    def make() -> Any:
        from obstore import fsspec as object_stores

        # A whole request may take long: the file may be large. A private store's endpoint may be plain HTTP.
        client = {
            "timeout": timedelta(hours=1),
            "read_timeout": timedelta(seconds=_READ_SECONDS),
            "allow_http": True,
        }
        retries = {"max_retries": 3, "retry_timeout": timedelta(minutes=2)}
        store: Any = object_stores.FsspecStore
        # A kept instance would keep the credentials that it has seen first.
        return store(protocol, client_options=client, retry_config=retries, skip_instance_cache=True)

    return make


def _web() -> Any:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
    return fsspec.filesystem("https", client_kwargs={"timeout": timeout, "trust_env": True})


def _hub() -> Any:
    return fsspec.filesystem("hf")


# No ranges, which some servers do not know; a size that is given is not asked for first, which would hide the errors.
_IN_ONE_STREAM = {"block_size": 0, "size": 1}
_SCHEMES = {
    "https": _Scheme('FSSPEC_HTTPS, as {"headers": {"Authorization": "Bearer …"}}', _web, _IN_ONE_STREAM),
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


# --- bringing them here


class Download:
    """A file that has no name and is gone with the process."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def opened(self) -> BinaryIO:
        """Its bytes, from the start; several may be open at once."""
        return io.BufferedReader(_FileReader(self._file, self._size), _CHUNK // 16)


class _FileReader(io.RawIOBase):
    """A reader of a file with a position of its own."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._position = file, size, 0

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
        count = os.preadv(self._file.fileno(), [buffer], self._position)
        self._position += count
        return count


def download(url: str, place: str, folder: Path) -> Download:
    """Fetch a file. `place` begins the sentence of an error; the bytes lie in `folder` while the process lives.

    Raises UserError where there is no such file, it may not be read, or the volume is full; TryLater where the server
    cannot be reached.
    """
    scheme = _SCHEMES[url.partition("://")[0]]
    sys.stderr.write(f"{place}: reading …\n")
    file, name = _draft(folder)
    try:
        _fetch_patiently(scheme, url, place, file)
    except BaseException:
        file.close()
        raise
    finally:
        os.unlink(name)  # what is open stays readable, and goes with the process
    return Download(file)


def _draft(folder: Path) -> tuple[BinaryIO, str]:
    """A new file, named like a draft, so that what a killed process leaves is removed by the next one."""
    with storage_errors_explained(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".source.", suffix=DRAFT_SUFFIX)
    return os.fdopen(descriptor, "w+b"), name


def _fetch_patiently(scheme: _Scheme, url: str, place: str, file: BinaryIO) -> None:
    for pause in _PAUSES:
        try:
            return _fetch(scheme, url, place, file)
        except TryLater as error:
            sys.stderr.write(f"{error.message} Here again in {pause:g} s.\n")
            time.sleep(pause)
    return _fetch(scheme, url, place, file)


def _fetch(scheme: _Scheme, url: str, place: str, file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
    file_system = scheme.file_system()
    path = url if url.startswith("http") else url.partition("://")[2]
    try:
        before = _version(file_system, path)
        with file_system.open(path, "rb", **scheme.options) as stream:
            _copy(stream, file)
        changed = before != _version(file_system, path)
    except StageError:
        raise
    except Exception as error:  # each library has errors of its own, without a common class
        raise _explained(error, place, scheme) from error
    if changed:
        raise TryLater(f"{place}: the file changed while it was read.", reason=Reason.INVALID_DATA)


def _version(file_system: Any, path: str) -> object:
    """What tells one content of a file from another, where it is read in several requests."""
    from obstore.fsspec import FsspecStore

    if not isinstance(file_system, FsspecStore):
        return None
    found = file_system.info(path)
    return found["type"], found["size"], found.get("e_tag")


def _copy(stream: BinaryIO, file: BinaryIO) -> None:
    while chunk := stream.read(_CHUNK):
        with storage_errors_explained("the workspace, to which the data is copied,"):
            file.write(chunk)
            file.flush()


# --- what went wrong


def _explained(error: Exception, place: str, scheme: _Scheme) -> StageError:
    """The sentence for a library's error."""
    if refusal := _refusal(error, scheme):
        return UserError(f"{place}: {refusal}", reason=Reason.INVALID_DATA)
    if _UNKNOWN_HOST.search(str(error)):
        why = "the server's name is not known; correct it, or see to the network"
    else:
        why = f"the server cannot be read from ({_words(error)})"
    return TryLater(f"{place}: {why}. The next attempt tries again.", reason=Reason.INVALID_DATA)


def _refusal(error: Exception, scheme: _Scheme) -> str | None:
    """Why a server does not give the file, and what to do; None where it may give it later."""
    said, status = str(error), _status(error)
    remedy = f"Give a Secret with {scheme.variables} in data.credentials."
    if any(path in said for path in _METADATA):
        return f"there are no credentials. {remedy}"
    if _WRONG_REGION in said:
        return "the bucket is in another region. Give a Secret with AWS_REGION in data.credentials."
    if isinstance(error, FileNotFoundError) or status in _NOT_FOUND:
        return "there is no such file."
    if isinstance(error, PermissionError) or status in _DENIED:
        return f"access is denied ({f'HTTP {status}' if status else _words(error)}). {remedy}"
    if status and 300 <= status < 500 and status not in _PASSING:
        return f"the server does not give the file: {_words(error)}."
    return None


def _status(error: Exception) -> int | None:
    """The HTTP status that an error is about."""
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


def _words(error: Exception) -> str:
    """The first line of what a library says, without the signatures of links."""
    lines = str(error).strip().splitlines()
    first = _QUERY.sub(r"\1?…", lines[0].rstrip(".")) if lines else type(error).__name__
    return first if len(first) <= _SHOWN else f"{first[:_SHOWN]}…"
