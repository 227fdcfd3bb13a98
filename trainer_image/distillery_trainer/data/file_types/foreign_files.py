"""Files that hold no rows, named for what they are: pointers, web pages, notebooks, archives, documents, …"""

from __future__ import annotations

import re
from collections.abc import Callable

from distillery_trainer.data.file_types.compression import COMPRESSED_MARKS
from distillery_trainer.data.file_types.record import UnusableFile

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TABLE = "save its table as CSV or Parquet"
_SHEET = (
    "save the sheet with the rows as CSV (in the program: Save As or Export, CSV UTF-8; or `soffice --headless"
    " --convert-to csv FILE`)"
)
_ONE_OBJECT_A_LINE = "write one JSON object per line"
_CONVERT = "convert it to JSON Lines, CSV or Parquet"
_COMPRESS = "compress it with gzip or zstd, or not at all"

_MAGIC: dict[bytes, str] = {
    b"version https://git-lfs.github.com/spec/": "it is a Git LFS pointer and not the file itself; fetch the file with"
    " `git lfs pull`",
    b"version https://hawser.github.com/spec/": "it is a Git LFS pointer and not the file itself; fetch the file with"
    " `git lfs pull`",
    b"/annex/objects/": "it is a git-annex pointer and not the file itself; fetch the file with `git annex get`",
    b"# xet version": "it is a Xet pointer and not the file itself; download the file with `hf download`",
    b"\xff\xfe\0\0": "its text is UTF-32; save it as UTF-8",
    b"%PDF-": f"it is a PDF document; {_CONVERT}",
    b"{\\rtf": f"it is an RTF document; {_CONVERT}",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "it is an Excel or Word file of the old kind, or one with a password;"
    f" {_SHEET}",
    **{b"BZh%d1AY&SY" % level: f"the file is compressed with bzip2; {_COMPRESS}" for level in range(1, 10)},
    b"\xfd7zXZ\x00": f"the file is compressed with xz; {_COMPRESS}",
    b"\x04\x22\x4d\x18": f"the file is compressed with lz4; {_COMPRESS}",
    b"\xff\x06\x00\x00sNaPpY": f"the file is compressed with snappy; {_COMPRESS}",
    b"7z\xbc\xaf": "it is a 7z archive; extract it, and name the file with the rows",
    b"Rar!": "it is a RAR archive; extract it, and name the file with the rows",
    b"PARE": "it is an encrypted Parquet file; store it without encryption",
    b"ARROW1": "it is an Arrow (Feather) file; save it as Parquet",
    b"FEA1": "it is a Feather file; save it as Parquet",
    b"ORC": f"it is an ORC file; {_CONVERT}",
    b"Obj\x01": f"it is an Avro file; {_CONVERT}",
    b"SQLite format 3\0": f"it is an SQLite database; {_TABLE}",
    b"\x89HDF": f"it is an HDF5 file; {_CONVERT}",
    b"\x93NUMPY": f"it is a NumPy array; {_CONVERT}",
    b"\x80\x04\x95": f"it is a Python pickle, which is never loaded; {_CONVERT}",
    b"\x80\x05\x95": f"it is a Python pickle, which is never loaded; {_CONVERT}",
    b"GGUF": "it is a model (GGUF), not rows",
    b"\x89PNG": "it is a picture, not rows",
    b"\xff\xd8\xff": "it is a picture, not rows",
    b"GIF8": "it is a picture, not rows",
    b"\x7fELF": "it is a program, not rows",
}
_NO_TEXT = re.compile(rb"[\0-\x08]")
_MARK_BYTES = 64
"""How far a file is searched for what no text has, if its mark is letters alone: a column may be named ORCID."""
_OFFICE_FILES = {
    b"vnd.oasis.opendocument.spreadsheet": f"an OpenDocument spreadsheet; {_SHEET}",
    b"vnd.oasis.opendocument.": f"an OpenDocument file; {_TABLE}",
    b".iwa": f"a file of Apple Numbers, Pages or Keynote; {_SHEET}",
    b"xl/": f"an Excel file; {_SHEET}",
    b"word/": f"a Word file; {_TABLE}",
    b"ppt/": f"a PowerPoint file; {_TABLE}",
    b"[Content_Types].xml": f"an Excel, Word or PowerPoint file; {_SHEET}",
}
"""By what stands at the start of the zip archive that such a file is."""
_WEB_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|title|meta)\b", re.I | re.S)
_PROLOGUE = re.compile(rb"\s*<\?xml\b")
_XML = re.compile(rb"\s*<(\?xml\b|!doctype\b|[a-z][-\w.:]*(\s+[-\w.:]+\s*=\s*[\"'][^\"'>]*[\"'])*\s*/?>)", re.I)
_NOTEBOOK = re.compile(rb'\s*\{\s*"(cells|metadata|nbformat|nbformat_minor)"\s*:')
_OBJECT = re.compile(rb'\s*\{\s*"[^"]*"\s*:')
_NOTEBOOK_KEYS = (b'"cell_type"', b'"nbformat"', b'"kernelspec"')


def refuse_foreign_file(start: bytes, *, compressed: bool = False) -> None:
    """Raise UnusableFile if these first bytes are those of another kind of file; `compressed` if they were unpacked."""
    start = start.removeprefix(_BYTE_ORDER_MARK)
    if compressed and start.startswith(b"PAR1"):
        raise UnusableFile("it is a compressed Parquet file; decompress it, since Parquet compresses its own columns")
    if compressed and start.startswith(COMPRESSED_MARKS):
        raise UnusableFile("it is compressed twice; decompress it once")
    for problem in (_by_magic, *_BY_CONTENT):
        if sentence := problem(start):
            raise UnusableFile(sentence)


def refuse_json(start: bytes) -> None:
    """Raise UnusableFile if a table of text begins with an object of JSON."""
    if _OBJECT.match(start.removeprefix(_BYTE_ORDER_MARK)):
        raise UnusableFile("it holds JSON, but its name or its format says CSV; name it .jsonl, or correct the format")


def _by_magic(start: bytes) -> str | None:
    is_binary = _NO_TEXT.search(start, 0, _MARK_BYTES) is not None
    return next(
        (
            sentence
            for magic, sentence in _MAGIC.items()
            if start.startswith(magic) and (is_binary or not magic.isalnum())
        ),
        None,
    )


def _archive(start: bytes) -> str | None:
    if start[257:262] == b"ustar":
        return "it is a tar archive; extract it, and name the file with the rows"
    if not start.startswith(b"PK\x03\x04"):
        return None
    office = next((kind for part, kind in _OFFICE_FILES.items() if part in start), None)
    return f"it is {office}" if office else "it is a zip archive; extract it, and name the file with the rows"


def _markup(start: bytes) -> str | None:
    is_page = _WEB_PAGE.match(start) or (_PROLOGUE.match(start) and b"<html" in start.lower())
    if is_page:
        return (
            "it is a web page, such as a page to log in; use the link to the file itself, and data.credentials if it"
            " takes a login"
        )
    return f"it is XML; {_CONVERT}" if _XML.match(start) else None


def _notebook(start: bytes) -> str | None:
    if _NOTEBOOK.match(start) and any(key in start for key in _NOTEBOOK_KEYS):
        return f"it is a Jupyter notebook; let it write its rows to a file: {_ONE_OBJECT_A_LINE}"
    return None


def _wide_text(start: bytes) -> str | None:
    little_endian, big_endian = start[1::2], start[:-1:2]
    if len(start) > 3 and any(start) and not (any(little_endian[:8]) and any(big_endian[:8])):
        return "its text is UTF-16 without a byte order mark; save it as UTF-8"
    return None


_BY_CONTENT: tuple[Callable[[bytes], str | None], ...] = (_archive, _markup, _notebook, _wide_text)
