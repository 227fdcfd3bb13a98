"""Files of rows: a line that is not as it was written is left out and named, and hides no other."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.runtime.line_checksums import checksums_path, is_damaged
from distillery_trainer.runtime.files import RowsFile, read_rows, to_line

ROWS = [{"id": f"row-{number}", "text": "Zo\u00eb \u2028 \r said \U0001f600.\n" * number} for number in range(5)]


@pytest.fixture
def path(tmp_path):
    return written(tmp_path / "train.jsonl")


def written(path):
    with RowsFile(path) as file:
        for row in ROWS[:3]:
            file.write(to_line(row))
        file.write(b"".join(to_line(row) for row in ROWS[3:]))
    return path


def test_file_holds_the_rows_and_nothing_else(path):
    assert [json.loads(line) for line in path.read_text().split("\n")[:-1]] == ROWS
    assert checksums_path(path).name == "train.jsonl.crc32"
    assert len(checksums_path(path).read_bytes()) == 6 * 8
    assert list(read_rows(path)) == ROWS
    assert not is_damaged(path)


def test_damaged_and_missing_lines_are_left_out_and_named(path, capsys):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b"row-0", b"row-9"), *lines[1:4], b'{"id": "new"}\n', b"\0\0\n"]))
    assert list(read_rows(path)) == ROWS[1:4]
    assert is_damaged(path)
    assert capsys.readouterr().err == (
        f"5 lines are damaged, or of a newer release, and are left out; the first is {path}, line 1."
        " To make them anew, run the stage that wrote them again.\n"
    )


def test_file_without_checksums_is_read_and_what_is_no_object_is_left_out(path, capsys):
    checksums_path(path).unlink()
    path.write_bytes(path.read_bytes() + b"not JSON\n[]\n")
    assert list(read_rows(path)) == ROWS
    assert "2 lines are damaged" in capsys.readouterr().err


def test_damaged_checksums_are_not_used(path):
    checksums_path(path).write_bytes(b"0" * 48)
    assert list(read_rows(path)) == ROWS
    assert not is_damaged(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bit_costs_its_line_or_the_two_that_it_joins(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("rows") / "train.jsonl")
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    joined = content[at] == 10
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = list(read_rows(path))
    assert all(row in ROWS for row in found)
    assert len(ROWS) - len(found) in ({0, 1, 2} if joined else {1})
