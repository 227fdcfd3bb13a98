"""Cells of a Parquet table as people wrote them: numbers, dates and the like as text."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy

_POSITIONAL = (1e-6, 1e21)
"""Numbers within these bounds are written without an exponent, as JSON has them."""


def cell_values(column: Any) -> list[Any]:
    """The cells of a column: text for a scalar, a list of texts for a list of scalars, None for null and for NaN.

    Structs, and lists of them, are Python's own values, like those of JSON. Raises ValueError and the like for a cell
    that has no Python value.
    """
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return cell_values(column.dictionary_decode())
    if types.is_floating(kind):
        return [_number_text(value) for value in _floats(column)]
    if _is_list(kind) and not types.is_nested(kind.value_type):
        return [cell_values(cell.values) if cell.is_valid else None for cell in column]
    return [_text(value) for value in column.to_pylist()]


def unpacked_bytes(column: Any) -> int:
    """How many bytes the cells of a column take once each has its own copy of what they repeat."""
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind) and not types.is_primitive(kind.value_type):
        lengths = compute.binary_length(column.dictionary).take(column.indices)
        return int(compute.sum(lengths).as_py() or 0) + int(column.indices.nbytes)
    if types.is_struct(kind) or _is_list(kind):
        inner = column.flatten() if types.is_struct(kind) else [column.flatten()]
        return sum(map(unpacked_bytes, inner)) + sum(map(len, inner))
    return int(column.nbytes)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _floats(column: Any) -> list[Any]:
    """The numbers in their own width, whose digits are those that people wrote: 0.1, and not 0.10000000149."""
    numbers = column.to_numpy(zero_copy_only=False)
    return [number if valid else None for number, valid in zip(numbers, column.is_valid().to_pylist(), strict=True)]


def _number_text(number: Any) -> str | None:
    """A number without a fraction that is 0, since a table has 3.0 for 3 in a column with missing values."""
    if number is None or numpy.isnan(number):
        return None
    if number == 0:
        return "0"
    if numpy.isfinite(number) and _POSITIONAL[0] <= abs(float(number)) < _POSITIONAL[1]:
        return str(numpy.format_float_positional(number, trim="-"))
    return str(numpy.format_float_scientific(number, trim="-", exp_digits=1)) if numpy.isfinite(number) else str(number)


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.datetime):
        return str(value.date() if _is_date(value) else value)
    return str(value) if isinstance(value, int | datetime.date | datetime.time) else value


def _is_date(moment: datetime.datetime) -> bool:
    """Whether a moment is only a date, which some writers of tables have no type for."""
    return moment.tzinfo is None and moment.time() == datetime.time() and not getattr(moment, "nanosecond", 0)
