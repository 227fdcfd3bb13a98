"""The files of the generate stage, written in the order of the input although replies arrive in any order."""

from __future__ import annotations

from distillery_api.paths import Artefact, StageFolder, Workspace
from distillery_api.runtime.atomic_files import remove_abandoned_drafts
from distillery_trainer.runtime.files import AtomicFile, RowsFile

WAITING_LIMIT = 32 * 1024 * 1024
"""Maximum bytes of finished rows that wait for an earlier one. With rows of 600 bytes and 500 rows per second, a
request may take almost two minutes before it delays other rows."""


class Outputs:
    """Rows are written in the order of their indexes. What is not published is discarded."""

    def __init__(self, folder: StageFolder, workspace: Workspace) -> None:
        self._workspace = workspace
        remove_abandoned_drafts(folder.path)
        paths = {
            Artefact.TRAIN: folder.train,
            Artefact.VALIDATION: folder.validation,
            Artefact.TEST: folder.test,
            Artefact.REJECTED: folder.rejected,
        }
        self._files = {name: RowsFile(path) for name, path in paths.items()}
        self._student_prompt = folder.student_prompt
        self._waiting: dict[int, tuple[Artefact, bytes]] = {}
        self._next = 0
        self._waiting_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more rows should be started until the earliest one is finished."""
        return self._waiting_bytes > WAITING_LIMIT

    def put(self, index: int, file: Artefact, line: bytes) -> None:
        """Write the line of the row with this index to a file, once all earlier rows are written."""
        if index != self._next:
            self._waiting[index] = file, line
            self._waiting_bytes += len(line)
            return
        self._files[file].write(line)
        self._next += 1
        while self._next in self._waiting:
            self._write(self._next)
            self._next += 1

    def add_rejected(self, line: bytes) -> None:
        """Write a skipped record, which has no index."""
        self._files[Artefact.REJECTED].write(line)

    def _write(self, index: int) -> None:
        file, line = self._waiting.pop(index)
        self._waiting_bytes -= len(line)
        self._files[file].write(line)

    def publish(self, student_prompt: str) -> dict[str, str]:
        """Publish the files, without the rows that are missing. Returns paths relative to the workspace, by name."""
        for index in sorted(self._waiting):
            self._write(index)
        with AtomicFile(self._student_prompt) as file:
            file.write(student_prompt.encode())
        for output in self._files.values():
            output.publish()
        paths = {name: output.path for name, output in self._files.items()} | {
            Artefact.STUDENT_PROMPT: self._student_prompt
        }
        return {name: self._workspace.relative(path) for name, path in paths.items()}

    def discard(self) -> None:
        """Remove what was not published."""
        for output in self._files.values():
            output.discard()
