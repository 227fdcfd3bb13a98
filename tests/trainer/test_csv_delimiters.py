"""CSV as spreadsheets and programs write it: what separates the cells, byte order marks, UTF-16, quotes."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_source import refusal, rows_of
from distillery_trainer.runtime.files import LineError

COLUMNS = {"prompt": "question", "gold": "answer"}
EXCEL = b"sep=;\nprompt;completion\nHello;Hi\n"


@pytest.mark.parametrize(
    "content",
    [
        EXCEL,
        EXCEL.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + EXCEL,
        EXCEL.replace(b"sep=;", b'"sep=;"'),
        EXCEL.replace(b"sep", b"SEP"),
        EXCEL.replace(b";", b"\t"),
        EXCEL.replace(b"sep=;", b"sep=\\t").replace(b";", b"\t"),
        EXCEL.replace(b";", b"#"),
        EXCEL.decode().encode("utf-16"),
        EXCEL.decode().encode("utf-16-be").join([b"\xfe\xff", b""]),
        b"prompt;completion\nHello;Hi\n",
        "prompt\tcompletion\nHello\tHi\n".encode("utf-16"),
    ],
)
def test_file_of_a_spreadsheet_has_two_columns(tmp_path, content):
    [row] = rows_of(tmp_path, content, "rows.csv")
    assert (row.text, row.reply) == ("Hello", "Hi")


def test_line_numbers_count_the_separator_line(tmp_path):
    assert [row.line for row in rows_of(tmp_path, EXCEL, "rows.csv")] == [3]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"question;answer, or none, of it\nWhat, why, how?;4\n", "What, why, how?"),
        (b"question,answer\nOne; two; three,4\n", "One; two; three"),
        (b"question|answer\nOne, two; three|4\n", "One, two; three"),
        (b"question\tanswer\nOne, two\t4\n", "One, two"),
        (b'"question","answer"\n"One;\ntwo;",4\n', "One;\ntwo;"),
        (b"question\nOne, two\n", "One, two"),
    ],
)
def test_first_rows_show_the_delimiter(tmp_path, content, text):
    rows = rows_of(tmp_path, content, "rows.csv", columns={"prompt": "question"})
    assert [getattr(row, "text", row) for row in rows] == [text]


@pytest.mark.parametrize("text", ["Hello, world; x", "a,b", "a|b", "a\tb", "a;b", 'Say "hi", then go', "a, 'b;\tc|d"])
@pytest.mark.parametrize("rows_before", [0, 30])
def test_under_one_name_each_row_is_one_cell(tmp_path, text, rows_before):
    rows = ["Hello", '"Hello, ""world"""'] * rows_before + [text]
    content = "\n".join(["prompt", *rows, ""]).encode()
    expected = ["Hello", 'Hello, "world"'] * rows_before + [text]
    assert [row.text for row in rows_of(tmp_path, content, "rows.csv")] == expected


def test_broken_quotes_under_one_name_are_named(tmp_path):
    [error] = rows_of(tmp_path, b'prompt\n"a" b\n', "rows.csv")
    assert (error.line, error.rule) == (
        2,
        "not CSV ('' expected after '\"'); quote text that contains quotes or line breaks",
    )


def test_delimiter_of_unknown_names_is_the_one_of_all_rows(tmp_path):
    content = b"frage;antwort, kurz\nWas?;4\nWie, und warum?;5\n"
    [first, _] = rows_of(tmp_path, content, "rows.csv", columns={"prompt": "question"})
    assert first.rule == 'the column "question" (columns.prompt) is missing; existing columns: frage, antwort, kurz'


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows.tsv"])
def test_delimiter_may_be_set(tmp_path, name):
    columns = COLUMNS | {"delimiter": "^"}
    [row] = rows_of(tmp_path, b"question^answer\na,b;c\t^4\n", name, columns=columns)
    assert (row.text, row.gold) == ("a,b;c\t", "4")


def test_column_limit(tmp_path):
    header = ",".join(f"c{number}" for number in range(120_000))
    message = refusal(tmp_path, f"{header}\n".encode(), "rows.csv", columns=COLUMNS)
    assert message == "the table has 120,000 columns; keep those with the rows, at most 2,000."


def test_row_without_an_end_is_an_error_before_it_fills_the_memory(tmp_path):
    content = b"question,answer\n" + b'"\n",' * 1_000_000
    [error] = rows_of(tmp_path, content, "rows.csv", columns=COLUMNS)
    assert isinstance(error, LineError)
    assert error.line == 2
    assert error.rule.startswith("not CSV (the row is longer than 1,048,576 characters)")


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=20).filter(
    str.strip
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_what_is_written_is_read(tmp_path_factory, delimiter, encoding, rows):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([("question", "answer"), *rows])
    content = stream.getvalue().encode(encoding)
    read = rows_of(tmp_path_factory.mktemp("rows"), content, "rows.csv", columns=COLUMNS)
    assert [(row.text, row.gold) for row in read] == rows
