import pytest

from distillery_api.runtime.atomic_files import AtomicFile, remove_abandoned_drafts, write_atomically


def test_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "folder" / "file"
    with AtomicFile(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"


def test_failed_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail() -> None:
        with AtomicFile(path) as file:
            file.write(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_draft_that_is_still_written_is_not_removed_as_abandoned(tmp_path):
    with AtomicFile(tmp_path / "file") as file:
        file.write(b"new")
        (tmp_path / ".file.abandoned.draft").write_bytes(b"old")
        remove_abandoned_drafts(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
    assert (tmp_path / "file").read_bytes() == b"new"


def test_draft_stands_beside_its_file_and_says_what_it_is(tmp_path):
    with AtomicFile(tmp_path / "file"):
        (draft,) = tmp_path.iterdir()
        assert (draft.name.startswith(".file."), draft.suffix) == (True, ".draft")


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_file_has_the_mode_that_it_is_given(tmp_path, mode):
    write_atomically(tmp_path / "file", b"one", mode)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_file_that_cannot_be_published_leaves_no_draft(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "file", b"one")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
