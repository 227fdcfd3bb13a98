"""A file that is one JSON list: its objects one at a time, however long the list is."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from distillery_trainer.data.file_types.json_lines import parse_object
from distillery_trainer.data.file_types.record import Record, UnusableFile
from distillery_trainer.runtime.files import ROW_LIMIT, LineError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 1024 * 1024
_LONGEST = 16 * ROW_LIMIT
"""A value that has no end within so many characters is taken for a broken one."""
_SPACE = re.compile(r"[ \t\r\n]*")
# The end of each value is all that is wanted here, so numbers are left as they are written.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def starts_list(start: bytes) -> bool:
    """Whether these first bytes are those of a JSON list."""
    return start.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] == b"["


def json_list_records(stream: BinaryIO) -> Iterator[Record | LineError]:
    """The objects of the list, numbered from 1. After an error of the list itself there are no more of them."""
    text = _Text(stream)
    text.take("[")
    number = 0
    try:
        while not text.take("]"):
            number += 1
            yield _item(number, text.value())
            text.take(",")
        if text.next_character():
            yield LineError(number + 1, "text follows the end of the list; a file holds one list")
    except ValueError as error:
        yield LineError(max(number, 1), str(error))


def _item(number: int, value: str) -> Record | LineError:
    line = value.encode(errors="surrogateescape")
    if len(line) > ROW_LIMIT:
        return LineError(number, f"the row is longer than {ROW_LIMIT:,} bytes; split or shorten it")
    try:
        return number, parse_object(number, line)
    except LineError as error:
        return error


class _Text:
    """The text of a stream, of which little more than one value is in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._buffer, self._position, self._is_whole = "", 0, False

    def next_character(self) -> str:
        """The next character that is no white space, which is still to be taken; empty at the end."""
        while True:
            self._position = self._after_space(self._position)
            if self._position < len(self._buffer) or self._is_whole:
                return self._buffer[self._position : self._position + 1]
            self._read(_CHUNK)

    def take(self, character: str) -> bool:
        """Whether this character is next; then it is taken."""
        is_next = self.next_character() == character
        self._position += is_next
        return is_next

    def value(self) -> str:
        """The text of the next value, which is taken. Raises ValueError if there is none."""
        if not self.next_character():
            raise ValueError("the list has no end: the file is truncated")
        while (end := self._end_of_value()) is None:
            self._read(max(_CHUNK, len(self._buffer)))
        start, self._position = self._position, end
        return self._buffer[start:end]

    def _end_of_value(self) -> int | None:
        """Where the next value ends; None if more text may tell. Raises ValueError where none can."""
        try:
            _, end = _DECODER.raw_decode(self._buffer, self._position)
        except RecursionError:
            raise UnusableFile("its list is nested too deeply; write one JSON object per line") from None
        except json.JSONDecodeError as error:
            if not self._is_whole and len(self._buffer) - self._position < _LONGEST:
                return None
            problem = f"not JSON ({error.msg})" if not self._is_whole else self._problem(error)
            raise ValueError(f"{problem}; the rest of the list cannot be read") from error
        after = self._after_space(end)
        if after == len(self._buffer):
            # A number may go on, and the end of the list is still to come.
            return end if self._is_whole else None
        if self._buffer[after] not in ",]":
            raise ValueError("not JSON (a comma is missing); the rest of the list cannot be read")
        return end

    def _problem(self, error: json.JSONDecodeError) -> str:
        is_cut = error.pos >= len(self._buffer) or error.msg.startswith("Unterminated")
        return "the value has no end, as in a truncated file" if is_cut else f"not JSON ({error.msg})"

    def _after_space(self, position: int) -> int:
        match: Any = _SPACE.match(self._buffer, position)
        return int(match.end())

    def _read(self, count: int) -> None:
        chunk = self._stream.read(count)
        self._is_whole = not chunk
        rest = self._buffer[self._position :]
        self._buffer, self._position = rest + self._decoder.decode(chunk, final=self._is_whole), 0
