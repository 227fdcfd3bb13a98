"""The files that a folder or a pattern on a server stands for: in an object store, or in a data set on the Hub."""

from __future__ import annotations

from typing import Any

from distillery_api.runtime.source_files import is_pattern, row_files
from distillery_trainer.data.remote_files import file_system_of, retried, server_errors_explained

_WEB = ("https://", "http://")


def list_files(url: str, subject: str) -> list[str]:
    """The URLs of the files that a URL means, in order. A name that exists is never a pattern.

    A web server has neither folders nor patterns, so its URLs stand for themselves. Raises UserError and TryLater, with
    messages that begin with `subject`.
    """
    last_part = url.rpartition("/")[2]
    if url.startswith(_WEB) or not (is_pattern(url) or "." not in last_part):
        return [url]
    return retried(lambda: _listed(url, subject))


def _listed(url: str, subject: str) -> list[str]:
    with server_errors_explained(url, subject):
        file_system, path = file_system_of(url)
        names = _matches(file_system, path) if is_pattern(url) else _in_folder(file_system, path)
    scheme = url.partition("://")[0]
    return [url] if names == [path] else [f"{scheme}://{name}" for name in names]


def _matches(file_system: Any, pattern: str) -> list[str]:
    if file_system.exists(pattern):
        return [pattern]
    found = file_system.glob(pattern, detail=True)
    return sorted(name for name, info in found.items() if info["type"] == "file")


def _in_folder(file_system: Any, path: str) -> list[str]:
    """The files of rows in a folder; `path` itself if it is a file, or if there is nothing."""
    folder = path.rstrip("/") + "/"
    names = [name for name in file_system.find(path) if name.startswith(folder) and name != folder]
    if not names and path != folder:
        return [path]
    return [folder + name for name in row_files(name.removeprefix(folder) for name in names)]
