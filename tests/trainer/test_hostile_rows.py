"""Hostile rows: files of a kilobyte that hold gigabytes; lines, keys and tables without measure.

Each is read by a process of its own, as a stage reads it. It ends with one sentence and never takes a gigabyte.
"""

import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from data_source import write

MIB = 1024 * 1024
MOST_MIB = 700
"""Of memory, with the 90 MiB that the libraries take."""
READER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from data_source import source
    from distillery_trainer.data.row_reader import check_rows
    from distillery_trainer.runtime.errors import UserError

    columns = {"columns": {"prompt": sys.argv[2]}} if len(sys.argv) > 2 else {}
    try:
        check_rows([source(sys.argv[1], **columns)], lambda _: None)
    except UserError as error:
        print(error.message)
    # The peak of this program alone; that of getrusage includes the process that started it.
    [peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    print(int(peak) // 1024)
""")


def compressed(chunk: bytes, count: int, codec: str) -> Callable[[], bytes]:
    """Many times the same bytes."""

    def make() -> bytes:
        buffer = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(buffer, codec) as stream:
            for _ in range(count):
                stream.write(chunk)
        return buffer.getvalue().to_pybytes()

    return make


def table(columns: Callable[[], dict[str, Any]], **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        parquet.write_table(pyarrow.table(columns()), file, compression="zstd", **options)
        return file.getvalue()

    return make


def repeated(text: str, count: int) -> pyarrow.DictionaryArray:
    """A column that holds a text once, and says that it is repeated."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), pyarrow.array([text]))


def in_one_row(values: pyarrow.Array) -> pyarrow.ListArray:
    return pyarrow.ListArray.from_arrays([0, len(values)], values)


def messages(count: int) -> dict[str, Any]:
    """One row whose messages repeat a text of a megabyte."""
    text = repeated("a" * 1_000_000, count)
    return {"messages": in_one_row(pyarrow.StructArray.from_arrays([text, text], ["role", "content"]))}


DELTA = {"use_dictionary": False, "column_encoding": {"prompt": "DELTA_BYTE_ARRAY"}}
PLAIN = {"use_dictionary": False}
TOO_LARGE = "more than rows of text do; remove the column, or write row groups of fewer rows"
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "dictionary.parquet": (
        table(lambda: {"prompt": repeated("a" * 30_000_000, 512)}),
        'its column "prompt" unpacks from 998 bytes to 30,000,055 bytes in 512 rows, more than rows of text do; remove',
    ),
    "many-rows.parquet": (table(lambda: {"prompt": repeated("a" * 15_000_000, 200_000)}), TOO_LARGE),
    "legal-texts.parquet": (
        table(lambda: {"prompt": repeated("a" * 1_048_577, 3000)}),
        'rows 1, 2, 3 and 997 more: the column "prompt" is longer than 1,048,576 bytes',
    ),
    "one-value.parquet": (table(lambda: {"prompt": ["a" * 150_000_000]}, **PLAIN), TOO_LARGE),
    "prefixes.parquet": (
        table(lambda: {"prompt": ["a" * 4_000_000] * 100}, **DELTA),
        'rows 1, 2, 3 and 93 more: the column "prompt" is longer than 1,048,576 bytes',
    ),
    "nulls.parquet": (
        table(lambda: {"prompt": pyarrow.nulls(3_000_000, pyarrow.string())}),
        "and the others were not checked. No request was sent to the teacher.\n  FILE, rows 1, 2, 3 and 997 more: ",
    ),
    "list-of-nulls.parquet": (table(lambda: {"messages": in_one_row(pyarrow.nulls(10_000_000))}), "10,000,000 values"),
    "list-of-texts.parquet": (
        table(lambda: {"prompt": ["a"], "gold": in_one_row(repeated("a" * 1_000_000, 20_000))}),
        'row 1: the column "gold" is longer than 1,048,576 bytes',
    ),
    "messages.parquet": (
        table(lambda: messages(20_000)),
        'row 1: the column "messages" is longer than 1,048,576 bytes',
    ),
    "columns.parquet": (
        table(lambda: {f"c{number}": [1] for number in range(20_000)}),
        "the table has 20,000 columns; keep those with the rows, at most 2,000.",
    ),
    "headers.csv": (
        lambda: b",".join(b"c%d" % number for number in range(120_000)),
        "the table has 120,000 columns; keep those with the rows, at most 2,000.",
    ),
    "row.csv": (lambda: b"prompt,b\n" + b'"\n",' * 3 * MIB, "line 2: not CSV (the row is longer than 1,048,576 char"),
    "zeros.jsonl.gz": (compressed(bytes(MIB), 300, "gzip"), "its gzip data unpacks to more than "),
    "line.jsonl.zst": (compressed(b"a" * MIB, 2000, "zstd"), "its zstd data unpacks to more than 67,108,864 bytes"),
    "rows.jsonl.zst": (
        compressed(b'{"prompt": "%s"}\n' % (b"a" * 10_000), 8_000, "zstd"),
        "its zstd data unpacks to more than 67,108,864 bytes",
    ),
    "empty-lines.jsonl.gz": (compressed(b"\n" * MIB, 300, "gzip"), "more than 1,000,000 empty lines; remove them"),
    "line.jsonl": (lambda: b'{"prompt": "' + b"a" * 200 * MIB, "line 1: the line is longer than 1,048,576 bytes"),
    "lists.jsonl": (lambda: b"[" * MIB, "its list is nested too deeply; write one JSON object per line"),
    "objects.jsonl": (lambda: b'{"a":' * 200_000, "line 1: not JSON (depth limit exceeded"),
    "keys.jsonl": (
        lambda: b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b"}",
        "line 1: the keys k0, k1, k2,",
    ),
    "turns.jsonl": (
        lambda: b'{"conversations": [' + b",".join([b'{"from":"x"}'] * 80_000) + b"]}",
        "line 1: message 1: \"from\" is 'x'",
    ),
    "half-characters.jsonl": (
        lambda: b'{"prompt":"' + rb"\ud800" * 170_000 + b'","tools":[1]}',
        'line 1: "tools": tools are not read in this format',
    ),
    "backslashes.jsonl": (lambda: b'{"prompt":"' + b"\\" * (MIB - 100) + b"\n", "line 1: not JSON (unexpected end"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_a_sentence_and_no_gigabyte(tmp_path, name):
    make, sentence = FILES[name]
    path = write(tmp_path, name, make())
    columns = ["prompt"] if name == "legal-texts.parquet" else []
    process = subprocess.run(
        [sys.executable, "-c", READER, path, *columns],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.stderr == ""
    message, _, memory = process.stdout.strip().rpartition("\n")
    assert sentence.replace("FILE", str(path)) in message
    assert len(message) < 20_000
    assert int(memory) < MOST_MIB
