import os
import subprocess
import sys
from pathlib import Path

import pytest

from distillery_api.runtime.file_locks import LockHeld, open_lock_file, take_lock, try_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def test_second_holder_learns_who_the_first_is(path: Path):
    first, second = open_lock_file(path), open_lock_file(path)
    take_lock(first, "train-abc on node-1")
    with pytest.raises(LockHeld) as held:
        take_lock(second, "train-abc on node-2")
    assert held.value.holder == "train-abc on node-1"
    assert path.read_text() == "train-abc on node-1\n"
    os.close(first)
    os.close(second)


def test_lock_ends_with_the_file_that_carries_it(path: Path):
    first, second = open_lock_file(path), open_lock_file(path)
    take_lock(first, "first")
    os.close(first)
    take_lock(second, "2")
    assert path.read_text() == "2\n"
    os.close(second)


def test_child_process_that_inherits_the_file_holds_the_lock_too(path: Path):
    lock = open_lock_file(path)
    take_lock(lock, "parent")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    os.close(lock)
    other = open_lock_file(path)
    assert not try_lock(other)
    child.communicate(b"\n")
    assert try_lock(other)
    os.close(other)


def test_shared_lock_keeps_out_only_those_that_want_the_file_for_themselves(path: Path):
    first, second, third = (open_lock_file(path) for _ in range(3))
    take_lock(first, "first reader", shared=True)
    take_lock(second, "second reader", shared=True)
    with pytest.raises(LockHeld, match="second reader"):
        take_lock(third, "writer")
    os.close(first)
    os.close(second)
    take_lock(third, "writer")
    os.close(third)


def test_lock_file_is_for_its_owner_alone(path: Path):
    os.close(open_lock_file(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_locked_is_an_error():
    with pytest.raises(OSError, match="Bad file descriptor"):
        try_lock(2**20)
