"""Where the user's rows are: on a mounted volume, in a file, or on a server, from which they are downloaded once.

A run reads its rows several times and must find the same ones each time. So a remote file is downloaded before the
first row is read, and a local file is checked for changes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.spec import NO_LABEL, DataSource
from distillery_trainer.data.locations import Root, SourceFile, files_at
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.data.remote_files import Download, Downloads, is_remote
from distillery_trainer.runtime.errors import UserError


@dataclass
class _Noted:
    """What reading a source has shown so far."""

    state: tuple[int, int] | None = None
    """Size and time of change of a local file when it was first opened."""
    has_rows: bool = False


@dataclass(frozen=True)
class Source:
    """A file of one split."""

    split: str
    uri: str
    """As written in the manifest, without passwords and signatures."""
    path: str
    """Where that is: a path on this machine, or a URL."""
    settings: DataSource
    """The source's section of the manifest."""
    downloads: Downloads
    """Where a file on a server is kept while the process lives."""
    number: int | None = None
    """Number of the file, from 1, if the split has several."""
    empty_gold: str | None = None
    """What gold that is an empty list stands for; None where that is no answer."""
    pictures: PictureFiles = field(default_factory=lambda: PictureFiles(Path("pictures")), compare=False)
    """Where the pictures of the rows are kept."""
    root: Root | None = None
    """What the manifest names with the file, which no address of a picture leads out of; None on a server."""
    _noted: _Noted = field(default_factory=_Noted, repr=False, compare=False)

    @property
    def unit(self) -> str:
        """What a record's number counts, as far as the file was read: lines, or rows of a table or a list."""
        return "row" if self._noted.has_rows else "line"

    def row_id(self, line: int) -> str:
        """The id of a row that has none of its own: `<split>-<line>`, or `<split>-<file>-<line>` with several files."""
        return f"{self.split}-{line}" if self.number is None else f"{self.split}-{self.number}-{line}"

    def note_rows(self) -> None:
        """Note that records are rows and not lines."""
        self._noted.has_rows = True

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes, from the start; several readers may be open at once.

        Raises UserError, naming the source and the path, if the file cannot be read or has changed since the first
        time; TryLater if a server cannot be reached.
        """
        if is_remote(self.path):
            yield self._download.opened()
            return
        with self._open() as stream:
            self._check_unchanged()
            yield stream
            self._check_unchanged()

    @property
    def name(self) -> str:
        """The file's name in lower case, without a URL's query and fragment."""
        path = self.path.partition("?")[0].partition("#")[0] if is_remote(self.path) else self.path
        return path.rpartition("/")[2].lower()

    @cached_property
    def _download(self) -> Download:
        return self.downloads.fetch(self.path, f"data.{self.split}: {self.uri}")

    def _open(self) -> BinaryIO:
        try:
            return open(self.path, "rb")
        except FileNotFoundError as error:
            raise self.unusable("the file does not exist") from error
        except IsADirectoryError as error:
            raise self.unusable("this is a folder; name a file in it") from error
        except PermissionError as error:
            raise self.unusable("permission denied") from error
        except OSError as error:
            raise self.unusable(f"it cannot be read ({error.strerror})") from error

    def unusable(self, problem: str) -> UserError:
        """The error of a source of which no row can be used; `problem` is the end of a sentence."""
        location = self.uri if self.path == self.uri else f"{self.uri} (path {self.path})"
        return UserError(f"data.{self.split}: {location}: {problem}.", reason=Reason.INVALID_DATA)

    def _check_unchanged(self) -> None:
        """Raise UserError if the file has changed since it was first opened."""
        status = os.stat(self.path)
        state = status.st_size, status.st_mtime_ns
        self._noted.state = self._noted.state or state
        if self._noted.state != state:
            raise self.changed()

    def changed(self, detail: str = "The file differs from the one that was checked.") -> UserError:
        """The error of a source that changed during the run."""
        return UserError(
            f"The data changed during the run. data.{self.split}: {self.uri}: {detail} Do not change the file, and run"
            " again: replies that are already paid for are reused.",
            reason=Reason.INVALID_DATA,
        )


def sources(config: RunConfig) -> list[Source]:
    """The files of the run, in order: of train, of validation and of test, as far as they are given. Raises UserError
    and TryLater."""
    downloads, pictures = Downloads(config.stage_folder.path), PictureFiles(config.paths.pictures)
    empty_gold = NO_LABEL if config.data.multi_label else None
    return [
        Source(
            split,
            file.uri,
            file.path,
            given,
            downloads,
            number if len(files) > 1 else None,
            empty_gold,
            pictures,
            file.root,
        )
        for split, given in config.data.sources.items()
        for files in [_files(given, config, f"data.{split}")]
        for number, file in enumerate(files, start=1)
    ]


def _files(given: DataSource, config: RunConfig, field_name: str) -> list[SourceFile]:
    """The files of a source, each once."""
    found = [file for uri in given.locations for file in files_at(uri, config, field_name)]
    return list({file.path: file for file in found}.values())
