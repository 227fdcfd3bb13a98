"""Files that are one JSON list."""

import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_source import refusal, rows_of
from distillery_trainer.data.file_types.json_lists import json_list_records
from distillery_trainer.runtime.files import LineError

TWO = b'[{"prompt": "a", "gold": 1.50}, {"prompt": "b"}]'
INDENTED = b'\xef\xbb\xbf\n[\n  {\n    "prompt": "a",\n    "gold": "1.50"\n  },\n  {"prompt": "b"}\n]\n'


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, whatever is wanted."""

    def __init__(self, content: bytes, step: int) -> None:
        self._inner, self._step = io.BytesIO(content), step

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(self._step)


def items(content: bytes, step: int = 1 << 20) -> list:
    return [
        str(record) if isinstance(record, LineError) else record for record in json_list_records(Trickle(content, step))
    ]


@pytest.mark.parametrize("content", [TWO, INDENTED, gzip.compress(INDENTED, mtime=0), b"  " + TWO])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows"])
def test_objects_of_a_list_are_rows(tmp_path, content, name):
    first, second = rows_of(tmp_path, content, name, columns={"prompt": "prompt"})
    assert [(row.text, row.line, row.id) for row in (first, second)] == [("a", 1, "train-1"), ("b", 2, "train-2")]


def test_numbers_of_a_list_stay_as_they_are_written(tmp_path):
    [first] = rows_of(tmp_path, b'[{"prompt": "a", "gold": 1.50}]', columns={"prompt": "prompt", "gold": "gold"})
    assert first.gold == "1.50"


def test_invalid_row_of_a_list_is_named_by_its_number(tmp_path):
    content = b'[{"prompt": "a"},\n{"prompt": ""},\n"text"]'
    message = refusal(tmp_path, content)
    assert 'rows.jsonl, row 2: "prompt" is an empty string' in message
    assert "rows.jsonl, row 3: not a JSON object" in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"a": 1}', "the list has no end: the file is truncated"),
        (b'[{"a": 1},', "the list has no end: the file is truncated"),
        (b"[", "the list has no end: the file is truncated"),
        (b'[{"a": 1}, {"a": "b', "the value has no end, as in a truncated file; the rest of the list cannot be read"),
        (b'[{"a": 1} {"a": 2}]', "not JSON (a comma is missing); the rest of the list cannot be read"),
        (b'[{"a" 1}]', "not JSON (Expecting ':' delimiter); the rest of the list cannot be read"),
        (b"[{'a': 1}]", "not JSON (Expecting property name enclosed in double quotes); the rest of the list cannot be"
         " read"),
        (b'[{"a": 1}] [{"a": 2}]', "text follows the end of the list; a file holds one list"),
        (b'["a"]\n["b"]', "text follows the end of the list; a file holds one list"),
        (b'[{"a": "\xff"}]', "not JSON (str is not valid UTF-8"),
        (b'[{"a": NaN}]', "not JSON ("),
    ],
)  # fmt: skip
def test_broken_list_ends_with_its_problem(content, problem):
    assert problem in items(content)[-1]


@pytest.mark.parametrize("content", [b"[]", b" [ ] ", b"[\n]\n"])
def test_empty_list_has_no_rows(tmp_path, content):
    assert items(content.lstrip()) == []
    assert "contains no rows." in refusal(tmp_path, content)


def test_long_row_of_a_list_is_refused_and_the_others_are_read():
    content = json.dumps([{"a": "x" * 3_000_000}, {"a": "y"}]).encode()
    assert items(content) == ["the row is longer than 1,048,576 bytes; split or shorten it", (2, {"a": "y"})]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4), data=st.data())
def test_list_is_read_whatever_its_layout_and_the_size_of_the_pieces(rows, data):
    indent = data.draw(st.sampled_from([None, 0, 2]))
    escaped = data.draw(st.booleans())
    text = json.dumps(rows, indent=indent, ensure_ascii=escaped)
    content = text.encode(errors="replace").replace(b"\\u0000", b" ").replace(b"\\ud", b"\\u0")
    step = data.draw(st.integers(1, 40))
    assert items(content, step) == list(enumerate(json.loads(content), start=1))


@given(st.binary(max_size=40))
def test_any_bytes_after_the_bracket_are_read_or_refused(content):
    assert all(isinstance(item, str | tuple) for item in items(b"[" + content, 7))
