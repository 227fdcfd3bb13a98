"""Pushes the files of a student as one commit: first the large ones, each for itself, so that an interrupted push
repeats one at most, then all that has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.hf_api import RepoFile

from distillery_api.spec import Hub
from distillery_trainer.hub.branch import files_at_top, ready_branch
from distillery_trainer.hub.failures import failures_explained

_OF_THE_REPOSITORY = frozenset({".gitattributes", ".gitignore"})

Uploaded = Callable[[int, int], None]
"""Is told how many bytes of the student, of how many, are on the Hub by now."""


@dataclass(frozen=True)
class Pushed:
    """Where the student is."""

    commit: str
    new_files: int
    """Number of files that the commit before did not hold, or otherwise."""
    is_new: bool
    """Whether the commit was made now."""


def push(
    wanted: Hub, token: str, files: Mapping[str, Path], title: str, uploaded: Uploaded = lambda done, size: None
) -> Pushed:
    """Make the files at the top of the branch those of the student, by name, in a commit with that title. Without a
    difference, there is no commit. Raises StageError, and OSError where a file cannot be read."""
    api = HfApi(token=token, library_name="distillery")
    with failures_explained(wanted, token):
        head = ready_branch(api, wanted)
        there = files_at_top(api, wanted, head)
    changed = {name: path for name, path in sorted(files.items()) if not _is_same(path, there.get(name))}
    gone = sorted(there.keys() - files.keys() - _OF_THE_REPOSITORY)
    if not changed and not gone:
        return Pushed(head, 0, is_new=False)
    size = sum(path.stat().st_size for path in files.values())
    done = size - sum(path.stat().st_size for path in changed.values())
    with failures_explained(wanted, token):
        additions = [CommitOperationAdd(name, path) for name, path in changed.items()]
        for addition in additions:
            uploaded(done, size)
            api.preupload_lfs_files(wanted.repository, [addition], revision=wanted.branch, free_memory=False)
            done += addition.upload_info.size
        uploaded(done, size)
        commit = api.create_commit(
            wanted.repository,
            [*additions, *map(CommitOperationDelete, gone)],
            commit_message=title,
            revision=wanted.branch,
            parent_commit=head,
        )
    return Pushed(commit.oid, len(changed), is_new=True)


def _is_same(path: Path, there: RepoFile | None) -> bool:
    """Whether the Hub has this content: by its SHA-256 of a large file, else by its hash in Git. Raises OSError."""
    if there is None or there.size != path.stat().st_size:
        return False
    with path.open("rb") as file:
        if there.lfs is not None:
            return hashlib.file_digest(file, "sha256").hexdigest() == there.lfs.sha256
        blob = b"blob %d\0" % there.size + file.read()
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == there.blob_id
