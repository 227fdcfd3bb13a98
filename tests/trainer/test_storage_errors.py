"""A disk that is full, and files that cannot be written, are errors with a sentence."""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator

import pytest

from distillery_trainer.runtime.errors import UserError, storage_errors_explained
from distillery_trainer.runtime.files import write_atomically


def test_full_device_is_a_user_error():
    def write() -> None:
        with storage_errors_explained("/dev/full"):
            descriptor = os.open("/dev/full", os.O_WRONLY)
            try:
                os.write(descriptor, b"a")
            finally:
                os.close(descriptor)

    with pytest.raises(UserError, match="/dev/full cannot be written: no space is left"):
        write()


def test_file_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "folder").write_bytes(b"a file")
    with pytest.raises(UserError, match="cannot be written: a part of the path is a file"):
        write_atomically(tmp_path / "folder" / "inner" / "file", b"one")


def test_file_that_outgrows_the_volume_is_a_user_error_and_leaves_no_draft(tmp_path):
    with limited_file_size(1000), pytest.raises(UserError, match="file cannot be written: the file is too big"):
        write_atomically(tmp_path / "file", b"a" * 2000)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Inside the block no file of this process may grow beyond `size` bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
