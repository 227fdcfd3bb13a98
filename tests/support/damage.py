"""Damage to files, as kills, power failures, disks and other releases leave it. All of it follows from a `Random`."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

NEWER = {"key": "0" * 64, "row": 0, "text": "?", "reply": {"content": "?", "finish_reason": "stop"}, "release": 99}
"""A line that another release has written."""


def line_with_checksum(row: dict[str, Any]) -> bytes:
    """A line as the product writes it."""
    body = json.dumps(row).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def intact_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the whole lines whose checksum is right."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line[-20:] == b',"crc32":"%08x"}' % zlib.crc32(line[:-20])]


def damage_lines(path: Path, random: Random) -> str:
    """Damage a file of lines; what was done."""
    kind = random.choice(list(LINE_DAMAGES))
    LINE_DAMAGES[kind](path, random)
    return f"{path.name}: {kind}"


def damage_file(path: Path, random: Random) -> str:
    """Damage a file of any kind; what was done."""
    kind = random.choice(list(FILE_DAMAGES))
    FILE_DAMAGES[kind](path, random)
    return f"{path.parent.name}/{path.name}: {kind}"


def flip_bit(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def cut(path: Path, random: Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: -random.randint(1, 40)])


def insert_line(path: Path, random: Random, line: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines.insert(random.randint(0, len(lines)), line)
    path.write_bytes(b"".join(lines))


LINE_DAMAGES: dict[str, Callable[[Path, Random], None]] = {
    "a bit is flipped": flip_bit,
    "its end is cut off": cut,
    "a line is no JSON": lambda path, random: insert_line(
        path, random, random.randbytes(40).replace(b"\n", b"") + b"\n"
    ),
    "a line is all zero bytes": lambda path, random: insert_line(path, random, b"\0" * 60 + b"\n"),
    "a line is of a newer release": lambda path, random: insert_line(path, random, line_with_checksum(NEWER)),
    "it ends with zero bytes": lambda path, _: path.write_bytes(path.read_bytes() + b"\0" * 100),
}
FILE_DAMAGES: dict[str, Callable[[Path, Random], None]] = {
    "a bit is flipped": flip_bit,
    "its end is cut off": cut,
    "it is empty": lambda path, _: path.write_bytes(b""),
    "it is all zero bytes": lambda path, _: path.write_bytes(b"\0" * path.stat().st_size),
    "it is gone": lambda path, _: path.unlink(),
}
