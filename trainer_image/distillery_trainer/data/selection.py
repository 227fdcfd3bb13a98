"""Which records of a source are rows: those that meet the manifest's conditions (`where`).

Logs of different products say the same in different ways. So `model`, `finish` and `metadata` mean that part of a log's
record wherever its format has it, unless the record has a key of exactly that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import DataFormat, Where
from distillery_trainer.data.formats import KNOWN_KEYS
from distillery_trainer.data.formats.conversation import SkippedRecord, is_empty, named, shown
from distillery_trainer.data.written_numbers import scalar_text

_CHOICE = "choices.0.finish_reason"
_ELSEWHERE: Mapping[DataFormat, Mapping[str, tuple[str, ...]]] = {
    DataFormat.OPENAI_STORED_COMPLETIONS: {"finish": (_CHOICE,)},
    DataFormat.OPENAI_EVALS: {
        "model": ("sample.model",),
        "finish": ("sample.finish_reason", f"sample.{_CHOICE}"),
        "metadata": ("item.metadata", "datasource_item.metadata"),
    },
    DataFormat.LITELLM_LOG: {
        "finish": (f"response.{_CHOICE}",),
        "metadata": ("metadata.requester_metadata", "metadata.spend_logs_metadata"),
    },
    DataFormat.VLLM_LOG: {
        "model": ("request.model", "request.body.model", "response.model", "response.body.model"),
        "finish": (f"response.{_CHOICE}", f"response.body.{_CHOICE}"),
        "metadata": ("request.metadata", "request.body.metadata"),
    },
    DataFormat.BEDROCK_INVOCATIONS: {
        "model": ("modelId",),
        "finish": (
            "output.outputBodyJson.stopReason",
            "output.outputBodyJson.stop_reason",
            "output.outputBodyJson.delta.stop_reason",
        ),
        "metadata": ("requestMetadata", "input.inputBodyJson.requestMetadata"),
    },
}
"""Where the formats of logs have what goes by one name in `where`."""


_PARTS_OF_A_ROW = KNOWN_KEYS | {"tools"}


class Selection:
    """The conditions of a source. Notes which keys any record has, since a key that none has is a mistake."""

    def __init__(self, where: Where | None) -> None:
        self._wanted = {key: _texts(value) for key, value in (where or {}).items()}
        self._unseen = [key for key, texts in self._wanted.items() if "" not in texts]
        self._first_keys: tuple[str, ...] = ()

    def check(self, record: dict[str, Any], data_format: DataFormat | None) -> None:
        """Raise SkippedRecord for a record that does not meet a condition."""
        if not self._wanted:
            return
        self._first_keys = self._first_keys or tuple(record)
        values = {key: _texts_in(record, key, data_format) for key in self._wanted}
        self._unseen = [key for key in self._unseen if not values[key]]
        for key, wanted in self._wanted.items():
            if not wanted & set(values[key] or [""]):
                what = f"is {shown(values[key][0])}" if values[key] else "is missing"
                raise SkippedRecord(RejectionReason.NOT_SELECTED, f"{named(key)} {what} (where).")

    def without_conditions(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record without the keys that are there for the conditions alone."""
        own = {key.partition(".")[0] for key in self._wanted} - _PARTS_OF_A_ROW
        return {key: value for key, value in record.items() if key not in own} if own else record

    def problem(self) -> str | None:
        """The key that no record has, as the end of a sentence."""
        if not self._unseen or not self._first_keys:
            return None
        keys = ", ".join(map(named, self._unseen))
        return f"where: no record has {keys}; the keys of the first one are {', '.join(map(named, self._first_keys))}"


def _texts_in(record: dict[str, Any], key: str, data_format: DataFormat | None) -> list[str]:
    """The texts of all values that a key has in a record."""
    return [str(scalar_text(value)) for value in _values(record, key, data_format) if not is_empty(value)]


def _texts(value: Any) -> frozenset[str]:
    """The texts that meet a condition; the empty one stands for a missing or empty value."""
    values = value if isinstance(value, list) else [value]
    return frozenset("" if is_empty(each) else str(scalar_text(each)) for each in values)


def _values(record: dict[str, Any], key: str, data_format: DataFormat | None) -> Iterator[Any]:
    """All values that a key has in a record: several where it leads through a list."""
    own = list(_values_at(record, key))
    yield from own
    if own or data_format is None:
        return
    first, dot, rest = key.partition(".")
    for path in _ELSEWHERE.get(data_format, {}).get(first, ()):
        yield from _values_at(record, path + dot + rest)


def _values_at(value: Any, path: str) -> Iterator[Any]:
    if isinstance(value, list):
        number, _, rest = path.partition(".")
        if number.isdecimal():
            yield from _values_at(value[int(number)], rest) if int(number) < len(value) else ()
        else:
            for item in value:
                yield from _values_at(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path in value:
        yield from _values_at(value[path], "")
    elif isinstance(value, dict):
        first, dot, rest = path.partition(".")
        if dot and first in value:
            yield from _values_at(value[first], rest)
