"""JSON Lines: one object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from distillery_trainer.data.file_types.record import Record
from distillery_trainer.data.file_types.utf16 import UTF16_MARKS
from distillery_trainer.data.written_numbers import WrittenNumber
from distillery_trainer.runtime.files import LineError, read_lines

# Every escape is matched, so that the second half of a pair, or a letter after an escaped backslash, is never taken for
# a surrogate of its own.
_ESCAPES = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_TOO_LARGE = "infinity"
"""Part of the parser's message about a number that no float holds."""
_INTEGER_DIGITS = 1000
"""Longer integers are kept as text only; Python takes quadratic time to read them."""


def json_records(stream: BinaryIO) -> Iterator[Record | LineError]:
    """The objects of the lines. Half of a character (a lone surrogate) becomes U+FFFD."""
    for number, line in read_lines(stream):
        try:
            if isinstance(line, LineError):
                raise line
            yield number, parse_object(number, line)
        except LineError as error:
            yield error


def parse_object(number: int, line: bytes) -> dict[str, Any]:
    """The object that the bytes hold. Raises LineError with this number for anything else."""
    if line.startswith(UTF16_MARKS):
        raise LineError(number, "the file is UTF-16; save it as UTF-8")
    if b"\0" in line:
        raise LineError(number, "the line contains a NUL byte; remove it")
    try:
        row = _value(line)
    except orjson.JSONDecodeError as error:
        raise LineError(
            number, f"not JSON ({error}); write one object per line, in UTF-8{_hint(line, number)}"
        ) from error
    if not isinstance(row, dict):
        raise LineError(number, f'not a JSON object; write {{"messages": [...]}}{_hint(line, number)}')
    return row


def _value(line: bytes) -> Any:
    """The value of a line, with the numbers of its columns as they were written. Raises JSONDecodeError."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        repaired = _ESCAPES.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], line)
        if repaired != line:
            return _value(repaired)
        if _TOO_LARGE not in str(error) or (value := _with_exact_numbers(line)) is None:
            raise
        return value
    return _with_exact_numbers(line) or value if _has_floats(value) else value


def _has_floats(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    return any(
        isinstance(value, float) or (isinstance(value, list) and any(isinstance(item, float) for item in value))
        for value in row.values()
    )


def _with_exact_numbers(line: bytes) -> Any:
    """The value of a line whose numbers are integers or WrittenNumbers; None if it is no JSON or too deep."""
    try:
        return json.loads(line, parse_float=WrittenNumber, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _integer(text: str) -> int | WrittenNumber:
    return int(text) if len(text) <= _INTEGER_DIGITS else WrittenNumber(text)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _hint(line: bytes, number: int) -> str:
    """How to fix the usual files that are not JSON Lines."""
    if number == 1 and line[:1].isalpha() and any(delimiter in line for delimiter in (b",", b";", b"\t", b"|")):
        return "; for a table set the format to CSV"
    return "; to convert indented objects use `jq -c . FILE`" if line == b"{" else ""
