"""CSV and Parquet: cells, quotes, broken rows, and memory that does not grow."""

import io
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet

from data_source import rows_of, source, write
from distillery_trainer.data.row_reader import check_rows, read_valid_rows
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import LineError

COLUMNS = {"prompt": "question", "gold": "answer"}
CSV = b'question,answer,more\n"What is\n""two"", and two?",4,x\nWhat is one?,1,\n'


def table(**columns) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def message(folder, name: str, content: bytes, **settings) -> str:
    with pytest.raises(UserError) as error:
        check_rows([source(write(folder, name, content), **settings)], lambda _: None)
    return error.value.message


# --- CSV


def test_csv_rows_have_the_number_of_their_first_line(tmp_path):
    first, second = rows_of(tmp_path, CSV, "rows.csv", columns=COLUMNS)
    assert (first.line, first.text, first.gold) == (2, 'What is\n"two", and two?', "4")
    assert (second.line, second.id, second.text, second.gold) == (4, "train-4", "What is one?", "1")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_detected_in_the_header(tmp_path, delimiter):
    content = CSV.replace(b"answer,more", b"answer").replace(b",x", b"").replace(b"1,", b"1")
    content = content.replace(b"question,", f"question{delimiter}".encode()).replace(b",4", f"{delimiter}4".encode())
    content = content.replace(b"?,1", f"?{delimiter}1".encode())
    assert [row.gold for row in rows_of(tmp_path, content, "rows.csv", columns=COLUMNS)] == ["4", "1"]


def test_file_name_tells_that_it_is_tab_separated(tmp_path):
    [row] = rows_of(tmp_path, b"question\tanswer, or none, of it\na\tb\n", "rows.tsv", columns={"prompt": "question"})
    assert row.text == "a"


def test_csv_without_columns_is_read_by_its_header(tmp_path):
    [row] = rows_of(tmp_path, b"\xef\xbb\xbfinstruction,input,output\r\nAdd.,2 2,4\r\n", "rows.csv")
    assert (row.text, row.reply) == ("Add.\n\n2 2", "4")


def test_file_with_another_name_may_be_declared_csv(tmp_path):
    assert len(rows_of(tmp_path, CSV, "rows.txt", format="CSV", columns=COLUMNS)) == 2


@pytest.mark.parametrize(
    ("content", "location", "rule"),
    [
        (b"question,answer\na,1\nb,2,3\nc,3\n", "line 3", "the row has 3 cells, but the header has 2"),
        (b"question,answer\na,1\n,2\n", "line 3", 'the column "question" is an empty string'),
        (b'question,answer\na,1\n"b,2\nc,3\n', "line 3", "not CSV (unexpected end of data)"),
        (b'question,answer\na,1\n"b" c,2\n', "line 3", "not CSV ("),
        (b"question,answer\na,1\n\xff,2\n", "line 3", "not UTF-8 (invalid start byte); save the file as UTF-8"),
        (b"question,question\na,1\n", "line 1", 'two columns have the name "question"'),
        (
            b"prompt,answer\na,1\n",
            "line 2",
            'the column "question" (columns.prompt) is missing; existing columns: prompt, answer',
        ),
        (b"question,answer\na,1\n" + b"b" * 2_000_000 + b",2\n", "line 3", "longer than 1,048,576 bytes"),
        (b"question,answer\na\0b,1\n", "line 2", 'the column "question" contains a NUL character'),
    ],
)
def test_broken_csv_is_named_by_line_and_rule(tmp_path, content, location, rule):
    error = message(tmp_path, "rows.csv", content, columns=COLUMNS)
    assert f"rows.csv, {location}: " in error
    assert rule in error


@pytest.mark.parametrize("content", [b"", b"question,answer\n"], ids=["nothing", "header only"])
def test_csv_without_rows(tmp_path, content):
    assert message(tmp_path, "rows.csv", content, columns=COLUMNS).endswith("rows.csv contains no rows.")


# --- Parquet


def test_parquet_with_columns(tmp_path):
    content = table(question=["a", "b"], answer=[72, None])
    rows = rows_of(tmp_path, content, "rows.parquet", columns=COLUMNS)
    assert [(row.line, row.text, row.gold) for row in rows] == [(1, "a", "72"), (2, "b", None)]


def test_parquet_with_messages(tmp_path):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    [row] = rows_of(tmp_path, table(messages=[messages]), "rows.parquet")
    assert (row.text, row.reply) == ("a", "b")


def test_parquet_is_recognised_by_its_bytes(tmp_path):
    assert len(rows_of(tmp_path, table(prompt=["a"]), "rows")) == 1


@pytest.mark.parametrize(
    ("content", "location", "rule"),
    [
        (table(question=["a", ""], answer=["1", "2"]), "row 2", 'the column "question" is an empty string'),
        (table(question=["a", None], answer=["1", "2"]), "row 2", 'the column "question" is not a string'),
        (table(prompt=["a"]), "row 1", 'the column "question" (columns.prompt) is missing; existing columns: prompt'),
        (table(question=["a"], answer=["1"])[:-9], "row 1", "not Parquet, or damaged ("),
        (b"not a table", "row 1", "not Parquet, or damaged ("),
        (table(question=["a" * 2_000_000], answer=["1"]), "row 1", "the row is longer than 1,048,576 characters"),
    ],
)
def test_broken_parquet_is_named_by_row_and_rule(tmp_path, content, location, rule):
    error = message(tmp_path, "rows.parquet", content, columns=COLUMNS)
    assert f"rows.parquet, {location}: " in error
    assert rule in error


def raw(*cells: bytes) -> pyarrow.Array:
    """A column of strings with these bytes, whether they are UTF-8 or not."""
    return pyarrow.Array.from_buffers(pyarrow.string(), len(cells), pyarrow.array(cells, pyarrow.binary()).buffers())


def test_parquet_text_that_is_not_utf8_is_named_by_row_and_the_others_are_read(tmp_path):
    cells = [b"a"] * 300
    cells[1] = cells[270] = b"caf\xe9 noir"
    rows = rows_of(tmp_path, table(question=raw(*cells), answer=["1"] * 300), "rows.parquet", columns=COLUMNS)
    broken = [row for row in rows if isinstance(row, LineError)]
    rule = 'the column "question" is not UTF-8 (invalid continuation byte); store text as UTF-8'
    assert [(error.line, error.rule) for error in broken] == [(2, rule), (271, rule)]
    assert [row.line for row in rows] == list(range(1, 301))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (
            table(question=pyarrow.DictionaryArray.from_arrays(pyarrow.array([0]), raw(b"\xff"))),
            "text from here on is not UTF-8 (Invalid UTF8 payload); store text as UTF-8",
        ),
        (
            table(questionXY=["a"]).replace(b"questionXY", b"question\xff\xff"),
            "a column name is not UTF-8; store text as UTF-8",
        ),
        (
            table(question=["a"], day=pyarrow.array([10**8], pyarrow.date32())),
            'the column "day" cannot be read (date value out of range); remove it, or store it as UTF-8 text',
        ),
    ],
    ids=["categories", "names", "dates"],
)
def test_parquet_that_python_has_no_values_for_is_a_sentence(tmp_path, content, rule):
    columns = {"prompt": "question", **({"gold": "day"} if b"day" in content else {})}
    [error] = rows_of(tmp_path, content, "rows.parquet", columns=columns)
    assert (error.line, error.rule) == (1, rule)


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path):
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table([["a"], ["b"]], names=["question", "question"]), stream)
    error = message(tmp_path, "rows.parquet", stream.getvalue(), columns={"prompt": "question"})
    assert 'rows.parquet, row 1: two columns have the name "question"' in error


def test_parquet_without_rows(tmp_path):
    empty = table(question=pyarrow.array([], pyarrow.string()), answer=pyarrow.array([], pyarrow.string()))
    assert message(tmp_path, "rows.parquet", empty, columns=COLUMNS).endswith("rows.parquet contains no rows.")


# --- memory


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    texts = [f"Question {number}? {'word ' * 40}" for number in range(20_000)]
    if name == "rows.csv":
        content = b"question\n" + b"".join(f"{text}\n".encode() for text in texts)
    else:
        content = table(question=texts)
    where = source(write(tmp_path, name, content), columns={"prompt": "question"})
    assert len(content) > 200_000
    next(read_valid_rows(where))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_valid_rows(where)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_error_holds_its_line(tmp_path):
    [error] = rows_of(tmp_path, b"{\n")
    assert isinstance(error, LineError)
    assert error.line == 1
