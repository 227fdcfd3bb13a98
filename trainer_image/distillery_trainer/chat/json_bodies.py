"""Reads JSON as servers send it, which is not always JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

_MAX_DIGITS = 19
"""Longer integers do not fit into 64 bits, and nothing that a server counts is as large."""


def read_json(body: bytes) -> Any:
    """The value in a body. Raises ValueError where there is none.

    Accepts what RFC 8259 forbids, but some servers send: a byte order mark, NaN, numbers beyond 64 bits (as infinity),
    control characters, bytes that are not UTF-8, and halves of surrogate pairs, which stay in the texts.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_leniently(body)


def _read_leniently(body: bytes) -> Any:
    try:
        text = body.decode(json.detect_encoding(body), "replace")
        return json.loads(text, strict=False, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf
