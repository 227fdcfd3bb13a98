"""Cells of Parquet, CSV and JSON come out as people wrote them, whatever type the writer of the table chose."""

import datetime
import io
from decimal import Decimal
from typing import Any

import numpy
import orjson
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from data_source import rows_of, rule_of

GOLD = {"prompt": "q", "gold": "g"}


def table(**columns: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def golds(folder, column: Any, **settings: Any) -> list[Any]:
    """The known answers of rows with this column of a Parquet file."""
    content = table(q=["a"] * len(column), g=column)
    return [row.gold for row in rows_of(folder, content, "rows.parquet", columns=GOLD, **settings)]


def array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    return pyarrow.array(values, kind)


MORNING = datetime.datetime(2024, 1, 31, 8, 30)
MIDNIGHT = datetime.datetime(2024, 1, 31)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (array([1234.56, 0.1, 3.0, None, float("nan")], pyarrow.float32()), ["1234.56", "0.1", "3", None, None]),
        (array([numpy.float16(0.1), numpy.float16(1.5)], pyarrow.float16()), ["0.1", "1.5"]),
        (array([1234.56, 3.0, 2.50, None, float("nan")], pyarrow.float64()), ["1234.56", "3", "2.5", None, None]),
        (array([1e6, 1e20, 1e-6, 1e21, 6.62607015e-34], pyarrow.float64()),
         ["1000000", "100000000000000000000", "0.000001", "1e+21", "6.62607015e-34"]),
        (array([-0.75, -3.0, 0.0, -0.0], pyarrow.float64()), ["-0.75", "-3", "0", "0"]),
        (array([3, None, -1], pyarrow.int8()), ["3", None, "-1"]),
        (array([2**64 - 1], pyarrow.uint64()), ["18446744073709551615"]),
        (array([Decimal("12.50"), Decimal("0.00"), Decimal("-1.00")], pyarrow.decimal128(6, 2)),
         ["12.50", "0.00", "-1.00"]),
        (array([Decimal("1E-8")], pyarrow.decimal128(12, 8)), ["0.00000001"]),
        (array([True, False, None], pyarrow.bool_()), ["true", "false", None]),
        (array([datetime.date(2024, 1, 31)], pyarrow.date32()), ["2024-01-31"]),
        (array([datetime.date(2024, 1, 31)], pyarrow.date64()), ["2024-01-31"]),
        (array([MORNING, MIDNIGHT], pyarrow.timestamp("ms")), ["2024-01-31 08:30:00", "2024-01-31"]),
        (array([MORNING], pyarrow.timestamp("ns")), ["2024-01-31 08:30:00"]),
        (array([MIDNIGHT], pyarrow.timestamp("us", "UTC")), ["2024-01-31 00:00:00+00:00"]),
        (array([datetime.time(8, 30)], pyarrow.time32("s")), ["08:30:00"]),
        (pyarrow.array(["x", "y", None, "x"]).dictionary_encode(), ["x", "y", None, "x"]),
        (pyarrow.array([1.0, 2.5, 1.0]).dictionary_encode(), ["1", "2.5", "1"]),
        (array(["x", None], pyarrow.large_string()), ["x", None]),
        (array(["x"], pyarrow.string_view()), ["x"]),
        (array([[1.5, 3.0], [0.1], None], pyarrow.list_(pyarrow.float32())), [["1.5", "3"], ["0.1"], None]),
        (array([["a", "b"], ["c"]], pyarrow.list_(pyarrow.string())), [["a", "b"], ["c"]]),
    ],
)  # fmt: skip
def test_cell_of_parquet_is_what_people_wrote(tmp_path, column, expected):
    assert golds(tmp_path, column) == expected


@pytest.mark.parametrize("column", [[b"\xff\x00"], [datetime.timedelta(days=3)], [float("inf")]])
def test_cell_of_parquet_that_people_do_not_write_is_an_error_or_its_name(tmp_path, column):
    [row] = rows_of(tmp_path, table(q=["a"], g=column), "rows.parquet", columns=GOLD)
    assert getattr(row, "gold", None) == "inf" or row.rule == "gold is not a string"


def test_cell_with_keys_is_json(tmp_path):
    [row] = rows_of(tmp_path, table(q=["a"], g=[{"a": 1}]), "rows.parquet", columns=GOLD)
    assert row.gold == '{"a":1}'


def test_table_without_named_columns_has_numbers_as_text_too(tmp_path):
    content = table(id=[1.0, 2.0], prompt=["a", "b"], completion=[1, None], gold=array([3.0, 0.5], pyarrow.float32()))
    rows = rows_of(tmp_path, content, "rows.parquet")
    assert [(row.id, row.reply, row.gold) for row in rows] == [("1", "1", "3"), ("2", None, "0.5")]


def test_cells_of_csv_stay_as_they_are(tmp_path):
    rows = rows_of(tmp_path, b"q,g\na,3.0\nb,1e3\nc,0.50\nd,007\ne,2024-01-31\nf,\n", "rows.csv", columns=GOLD)
    assert [row.gold for row in rows] == ["3.0", "1e3", "0.50", "007", "2024-01-31", None]


@pytest.mark.parametrize(
    "number",
    ["1", "1.0", "0.50", "-3", "1e3", "1E-5", "6.02214076e23", "3.14159265358979323846", "9007199254740993.0",
     "18446744073709551616", "-9223372036854775809", "1" * 80, "0.1", "-0.0"],
)  # fmt: skip
def test_number_in_a_column_of_json_is_what_people_wrote(tmp_path, number):
    [row] = rows_of(tmp_path, f'{{"q": "a", "g": {number}}}'.encode(), columns=GOLD)
    assert row.gold == number
    [row] = rows_of(tmp_path, f'{{"q": "a", "g": ["b", {number}]}}'.encode(), columns=GOLD)
    assert row.gold == ["b", number]


@pytest.mark.parametrize("digits", [400, 5_000, 1_000_000])
def test_number_of_thousands_of_digits_is_a_sentence(tmp_path, digits):
    line = b'{"q": "a", "g": ' + b"7" * digits + b"}"
    [error] = rows_of(tmp_path, line, columns=GOLD)
    assert error.rule == f"gold is a number of {digits:,} characters; write it shorter, or as text"
    [row] = rows_of(tmp_path, line, columns={"prompt": "q"})
    assert row.gold is None


def test_number_for_text_is_still_refused(tmp_path):
    assert rule_of(tmp_path, {"q": 1.5}, columns={"prompt": "q"}) == 'the column "q" is not a string'


# --- properties

decimals = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-99999, max_value=99999)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(decimals, min_size=1, max_size=20))
def test_numbers_of_two_decimals_survive_every_type_of_column(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("rows")
    exact = [f"{value:f}" for value in values]
    assert golds(folder, pyarrow.array(values, pyarrow.decimal128(9, 2))) == exact
    for kind in (pyarrow.float64(), pyarrow.float32()):
        read = golds(folder, pyarrow.array([float(value) for value in values], kind))
        assert [Decimal(text) for text in read] == [Decimal(text) for text in exact]
    lines = b"".join(b'{"q": "a", "g": %s}\n' % text.encode() for text in exact)
    assert [row.gold for row in rows_of(folder, lines, columns=GOLD)] == exact


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    str.strip
)


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=8))
def test_texts_survive_every_file_type(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    prompts, answers = [prompt for prompt, _ in rows], [answer for _, answer in rows]
    files = {
        "rows.parquet": table(q=prompts, g=answers),
        "rows.jsonl": b"".join(orjson.dumps({"q": prompt, "g": answer}) + b"\n" for prompt, answer in rows),
    }
    for name, content in files.items():
        read = rows_of(folder, content, name, columns=GOLD)
        assert [(row.text, row.gold) for row in read] == rows
