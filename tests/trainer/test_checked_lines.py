"""Lines with a checksum: what is damaged is noticed, and hides no other line."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_trainer.runtime.checked_lines import DamagedLines, checked_line, read_line, read_lines

ROWS = [{"row": number, "text": 'One \u00e4 {"two"} \U0001f600 three.\n' * number} for number in range(5)]
LINES = [checked_line(row) for row in ROWS]


def rows_of(content: bytes):
    return [line.row for line in read_lines(io.BytesIO(content))]


def test_line_ends_with_the_checksum_of_what_is_before_it():
    assert checked_line({"key": "a", "spent": 140}) == b'{"key":"a","spent":140,"crc32":"b54ef4d6"}\n'
    assert read_line(b'{"key":"a","spent":140,"crc32":"b54ef4d6"}\n') == {"key": "a", "spent": 140}


def test_line_of_a_release_without_checksums_is_read():
    assert read_line(b'{"key":"a","spent":140}\n') == {"key": "a", "spent": 140}


def test_unusable_lines_are_none():
    for line in (
        b"\n",
        b"\0\0\0\0\n",
        b"null\n",
        b"[1]\n",
        b'"text"\n',
        b"{\n",
        b"\xff\xfe\n",
        b'{"key":"a","spent":141,"crc32":"b54ef4d6"}\n',
        b'{"key":"a","spent":140,"crc32":"b54ef4D6"}\n',
        b'{"key":"a","spent":140,"crc32":"b54ef4d"}\n',
        b'{"key":"a","spent":140,"crc32":1}\n',
        b'{"crc32":"b54ef4d6","key":"a","spent":140}\n',
        b"[" * 100_000 + b"\n",
    ):
        assert read_line(line) is None


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_flipped_bit_in_a_line_is_noticed_and_hides_no_other_line(data):
    number = data.draw(st.integers(0, len(LINES) - 1))
    line = bytearray(LINES[number])
    line[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = rows_of(b"".join([*LINES[:number], bytes(line), *LINES[number + 1 :]]))
    assert [row for row in found if row is not None and set(row) == {"row", "text"}] == ROWS[:number] + ROWS[
        number + 1 :
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=30)), max_size=6))
def test_bytes_between_lines_hide_none_of_them(insertions):
    before = [b""] * len(LINES)
    for number, rubbish in insertions:
        before[number] += rubbish
    found = rows_of(b"".join(rubbish + line for rubbish, line in zip(before, LINES, strict=True)))
    assert [row for row in found if row is not None] == ROWS


def test_row_that_continues_a_torn_one_is_read():
    found = rows_of(LINES[3][:20] + LINES[4] + LINES[0])
    assert found == [None, ROWS[4], ROWS[0]]


def test_line_of_beginnings_is_read_in_linear_time():
    assert rows_of(b'{"' * 500_000 + LINES[1]) == [None, ROWS[1]]
    assert rows_of(b'{"' * 500_000 + LINES[1][:-3] + b"\n") == [None]


@given(st.integers(0, sum(map(len, LINES))))
def test_file_that_is_cut_anywhere_gives_its_whole_lines(length):
    content = b"".join(LINES)[:length]
    assert rows_of(content) == ROWS[: content.count(b"\n")]


def test_damaged_lines_are_named_once(tmp_path):
    damaged = DamagedLines()
    damaged.add(tmp_path / "a.jsonl", 3)
    assert str(damaged) == f"A line is damaged, or of a newer release, and is left out: {tmp_path}/a.jsonl, line 3."
    damaged.add(tmp_path / "b.jsonl", 1)
    assert str(damaged) == (
        f"2 lines are damaged, or of a newer release, and are left out; the first is {tmp_path}/a.jsonl, line 3."
    )
