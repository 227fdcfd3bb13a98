"""Whether the rows of a generate stage have changed since it first finished."""

from distillery_api.paths import StageFolder
from distillery_trainer.generation.rows_revision import rows_revision

ROW = b'{"id":"a","prompt":[],"completion":[],"teacher":"t"}\n'
BESIDE = b'{"id":"a","prompt":[],"completion":[],"teacher":"t","samples":[{"completion":[],"count":3}]}\n'


def folder_with(tmp_path, train: bytes) -> StageFolder:
    for name in ("validation", "test"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"")
    (tmp_path / "train.jsonl").write_bytes(train)
    return StageFolder(tmp_path)


def test_rows_that_gain_what_an_earlier_release_did_not_write_are_the_same_rows(tmp_path):
    assert rows_revision(folder_with(tmp_path, ROW)) is None
    assert rows_revision(folder_with(tmp_path, BESIDE)) is None


def test_another_answer_is_a_revision(tmp_path):
    rows_revision(folder_with(tmp_path, BESIDE))
    revision = rows_revision(folder_with(tmp_path, BESIDE.replace(b'"a"', b'"b"')))
    assert revision is not None
    assert len(revision) == 8
