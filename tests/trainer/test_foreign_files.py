"""A file that holds no rows is named for what it is, in one sentence that says what to do."""

import gzip
import io
import zipfile

import pyarrow
import pytest
from pyarrow import orc, parquet

from data_source import refusal, rows_of

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 123\n"
NOTEBOOK = b'{\n "cells": [\n  {\n   "cell_type": "code",\n   "source": []\n  }\n ],\n "nbformat": 4\n}\n'


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), "")  # always of the same time
    return stream.getvalue()


def arrow_file() -> bytes:
    stream = io.BytesIO()
    table = pyarrow.table({"prompt": ["a"]})
    with pyarrow.ipc.new_file(stream, table.schema) as writer:
        writer.write(table)
    return stream.getvalue()


def orc_file() -> bytes:
    stream = io.BytesIO()
    orc.write_table(pyarrow.table({"prompt": ["a"]}), stream)
    return stream.getvalue()


def parquet_file() -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table({"prompt": ["a"]}), stream)
    return stream.getvalue()


LFS_SENTENCE = "it is a Git LFS pointer and not the file itself; fetch the file with `git lfs pull`."
WEB_PAGE = (
    "it is a web page, such as a page to log in; use the link to the file itself, and data.credentials if it takes a"
    " login."
)
UTF16_SENTENCE = "its text is UTF-16 without a byte order mark; save it as UTF-8."
SHEET = (
    "save the sheet with the rows as CSV (in the program: Save As or Export, CSV UTF-8; or `soffice --headless"
    " --convert-to csv FILE`)."
)
XML = "it is XML; convert it to JSON Lines, CSV or Parquet."


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet", "rows"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (LFS, LFS_SENTENCE),
        (b"\xef\xbb\xbf" + LFS, LFS_SENTENCE),
        (b"/annex/objects/SHA256E-s1--a.jsonl\n", "it is a git-annex pointer and not the file itself; fetch the file"
         " with `git annex get`."),
        (b"<!DOCTYPE html>\n<html></html>\n", WEB_PAGE),
        (b"\n\n  <!-- log in -->\n<HTML lang='en'>", WEB_PAGE),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "">\n<html xmlns="http://www.w3.org/1999/xhtml">', WEB_PAGE),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', XML),
        (b"<rows><row>a</row></rows>", XML),
        (b'<feed xmlns="http://www.w3.org/2005/Atom">\n', XML),
        (NOTEBOOK, "it is a Jupyter notebook; let it write its rows to a file: write one JSON object per line."),
        (archive("[Content_Types].xml", "xl/workbook.xml"), f"it is an Excel file; {SHEET}"),
        (archive("_rels/.rels", "xl/workbook.xml"), f"it is an Excel file; {SHEET}"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheetPK",
         f"it is an OpenDocument spreadsheet; {SHEET}"),
        (archive("Index/Document.iwa"), f"it is a file of Apple Numbers, Pages or Keynote; {SHEET}"),
        (archive("[Content_Types].xml", "word/document.xml"), "it is a Word file; save its table as CSV or Parquet."),
        (archive("train.jsonl"), "it is a zip archive; extract it, and name the file with the rows."),
        (b"train.jsonl".ljust(257, b"\0") + b"ustar\x0000" + bytes(300),
         "it is a tar archive; extract it, and name the file with the rows."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
         f"it is an Excel or Word file of the old kind, or one with a password; {SHEET}"),
        (b"%PDF-1.7\n%\xe2\xe3", "it is a PDF document; convert it to JSON Lines, CSV or Parquet."),
        (b"BZh91AY&SY", "the file is compressed with bzip2; compress it with gzip or zstd, or not at all."),
        (b"\xfd7zXZ\x00\x00", "the file is compressed with xz; compress it with gzip or zstd, or not at all."),
        (b"\x89PNG\r\n\x1a\n", "it is a picture, not rows."),
        (b"SQLite format 3\x00", "it is an SQLite database; save its table as CSV or Parquet."),
        (b"\x93NUMPY\x01\x00", "it is a NumPy array; convert it to JSON Lines, CSV or Parquet."),
        (b"\x80\x04\x95\x0f\x00", "it is a Python pickle, which is never loaded; convert it to JSON Lines, CSV or"
         " Parquet."),
        (arrow_file(), "it is an Arrow (Feather) file; save it as Parquet."),
        (orc_file(), "it is an ORC file; convert it to JSON Lines, CSV or Parquet."),
        (b"PARE\x2c\x00\x00\x00\x8f", "it is an encrypted Parquet file; store it without encryption."),
        (b"GGUF\x03\x00\x00\x00", "it is a model (GGUF), not rows."),
        (b"GIF89a\x01\x00\x01\x00", "it is a picture, not rows."),
        (b"BZh11AY&SY", "the file is compressed with bzip2; compress it with gzip or zstd, or not at all."),
        (gzip.compress(parquet_file(), mtime=0),
         "it is a compressed Parquet file; decompress it, since Parquet compresses its own columns."),
        (gzip.compress(LFS, mtime=0), LFS_SENTENCE),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "it is compressed twice; decompress it once."),
        ("prompt,completion\na,b\n".encode("utf-16-le"), UTF16_SENTENCE),
        ('{"prompt": "a"}\n'.encode("utf-16-be"), UTF16_SENTENCE),
        ('{"prompt": "a"}\n'.encode("utf-32"), "its text is UTF-32; save it as UTF-8."),
        (gzip.compress(archive("train.jsonl"), mtime=0),
         "it is a zip archive; extract it, and name the file with the rows."),
    ],
)  # fmt: skip
def test_file_is_named_for_what_it_is(tmp_path, name, content, sentence):
    if name == "rows.parquet" and content.startswith(b"\x1f\x8b"):
        assert "not Parquet, or damaged" in refusal(tmp_path, content, name)
    else:
        assert refusal(tmp_path, content, name) == sentence


def test_parquet_by_another_name_is_read(tmp_path):
    assert [row.text for row in rows_of(tmp_path, parquet_file(), "rows.jsonl")] == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"prompt": "<!DOCTYPE html><html>"}',
        b'{"prompt": "version https://git-lfs.github.com/spec/"}',
        b'{"prompt": "What is a \\"cell_type\\" in a notebook, and \\"nbformat\\"?"}',
    ],
)
def test_rows_about_such_files_are_rows(tmp_path, line):
    [row] = rows_of(tmp_path, line)
    assert row.text


def test_json_that_is_named_csv_is_named_as_such(tmp_path):
    sentence = "it holds JSON, but its name or its format says CSV; name it .jsonl, or correct the format."
    assert refusal(tmp_path, b'{"prompt": "a", "completion": "b"}\n', "rows.csv") == sentence


def test_csv_that_is_named_json_gets_a_hint(tmp_path):
    [first, _] = rows_of(tmp_path, b"prompt,completion\na,b\n")
    assert first.rule.endswith("write one object per line, in UTF-8; for a table set the format to CSV")


@pytest.mark.parametrize("name", ["ORCID", "ORC", "PARENT", "BZh", "BZh9", "GGUF", "GIF89a", "ARROW1", "FEA1"])
def test_column_may_be_named_like_the_mark_of_another_file(tmp_path, name):
    content = f"{name},prompt,completion\n0000-0001,Où ça ?,Là-bas\n".encode()
    [row] = rows_of(tmp_path, content, "rows.csv")
    assert (row.text, row.reply) == ("Où ça ?", "Là-bas")


def test_csv_about_markup_is_csv(tmp_path):
    [row] = rows_of(tmp_path, b"prompt,completion\n<p>a</p>,<html>\n", "rows.csv")
    assert (row.text, row.reply) == ("<p>a</p>", "<html>")
