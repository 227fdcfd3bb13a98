"""The user's rows: where a source lies, what a good row is, and what is wrong with a bad one.

All rows are checked before the first paid call, and read again, one at a time, when they are asked.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import fsspec
import numpy
import orjson

from distillery_api.result import Reason
from distillery_api.run import RunConfig
from distillery_trainer.errors import UserError
from distillery_trainer.records import Example, LineError, Message, read_lines

SHOWN_PROBLEMS = 20
_ROW_KEYS = {"messages", "id", "gold", "metadata"}
_ROLES = ("system", "user", "assistant")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

TaskRule = Callable[[Example], str | None]
"""A task's own rule: what is wrong with a row, None for a good one."""


# --- where rows lie


@dataclass(frozen=True)
class Source:
    """One split of the data."""

    split: str
    uri: str
    """As it stands in the manifest."""
    path: str
    """Where that is on this machine, as fsspec opens it."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes. Raises UserError, naming the source and what was looked for, where there are none."""
        try:
            with fsspec.open(self.path, "rb") as stream:
                yield cast(BinaryIO, stream)
        except FileNotFoundError as error:
            raise self._unusable("there is no such file") from error
        except IsADirectoryError as error:
            raise self._unusable("that is a folder; name the file in it") from error
        except PermissionError as error:
            raise self._unusable("this process may not read it") from error

    def _unusable(self, why: str) -> UserError:
        place = self.uri if self.path == self.uri else f"{self.uri}: looked for {self.path}"
        return UserError(f"data.{self.split}: {place}: {why}.", reason=Reason.INVALID_DATA)


def sources(config: RunConfig) -> list[Source]:
    """The splits that the run reads: train, validation, and test where it is given. Raises UserError."""
    given = (("train", config.data.train), ("validation", config.data.validation), ("test", config.data.test))
    return [
        Source(split, place.uri, resolve(place.uri, config, f"data.{split}"))
        for split, place in given
        if place is not None
    ]


def resolve(uri: str, config: RunConfig, field_name: str = "uri") -> str:
    """Where a URI of the manifest lies on this machine.

    `pvc://CLAIM/PATH` and `configmap://NAME/KEY` lie under their mount, `file:///PATH` is itself, and a plain path is
    relative to the config's base path. Raises UserError for a claim or ConfigMap that is not mounted.
    """
    if uri.startswith("file://"):
        return uri.removeprefix("file://")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri if uri.startswith("/") else f"{config.base_path.rstrip('/')}/{uri}"
    name, _, path = rest.partition("/")
    reference = f"{scheme}://{name}"
    if reference not in config.mounts:
        mounted = ", ".join(sorted(config.mounts)) or "nothing"
        raise UserError(
            f"{field_name}: {uri}: {reference} is not mounted here (mounted: {mounted}).", reason=Reason.INVALID_DATA
        )
    return f"{config.mounts[reference].rstrip('/')}/{path}"


# --- reading rows


def read_examples(source: Source) -> Iterator[Example]:
    """The rows of a checked source, one at a time. Raises UserError where it is not what it was when it was checked."""
    with source.opened() as stream:
        for item in parsed_lines(source.split, stream):
            if isinstance(item, LineError):
                problem = f"{source.uri}, line {item.line}: {item.rule}"
                raise UserError(f"The data changed during the run. {problem}", reason=Reason.INVALID_DATA)
            yield item


def parsed_lines(split: str, stream: BinaryIO) -> Iterator[Example | LineError]:
    """Each row, or in its place what is wrong with it."""
    for number, line in read_lines(stream):
        try:
            if isinstance(line, LineError):
                raise line
            yield parse_row(split, number, line)
        except LineError as error:
            yield error


def parse_row(split: str, number: int, line: bytes) -> Example:
    """One line as a row. Raises LineError with the first rule that it breaks."""
    row = _parse_json(number, line)
    for check in (_check_keys, _check_messages, _check_id, _check_gold):
        if rule := check(row):
            raise LineError(number, rule)
    messages: list[Message] = [{"role": turn["role"], "content": turn["content"]} for turn in row["messages"]]
    if messages[-1]["role"] == "assistant":  # an answer to be replaced
        messages.pop()
    own = row.get("id")
    return Example(split, number, f"{split}-{number}" if own is None else str(own), messages, row.get("gold"))


def _parse_json(number: int, line: bytes) -> dict[str, Any]:
    if line.startswith(_UTF16_MARKS):
        raise LineError(number, "the file is UTF-16; save it as UTF-8")
    if b"\0" in line:
        raise LineError(number, "the line has a NUL byte; remove it")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(number, f"not JSON ({error}); write one object a line, in UTF-8") from error
    if not isinstance(row, dict):
        raise LineError(number, 'not a JSON object; write {"messages": [...]}')
    return row


def _check_keys(row: dict[str, Any]) -> str | None:
    if unknown := sorted(row.keys() - _ROW_KEYS):
        return f'unknown key "{unknown[0]}"; a row has messages, and optionally id, gold and metadata'
    if not isinstance(row.get("messages"), list) or not row["messages"]:
        return '"messages" is missing or empty; give a list of {"role", "content"}'
    return None


def _check_messages(row: dict[str, Any]) -> str | None:
    for place, message in enumerate(row["messages"], start=1):
        if rule := _check_message(message):
            return f"message {place}: {rule}"
    return _check_order([message["role"] for message in row["messages"]])


def _check_message(message: Any) -> str | None:
    if not isinstance(message, dict):
        return 'not an object; write {"role": ..., "content": ...}'
    if message.get("role") not in _ROLES:
        return f"the role {message.get('role')!r} is not one of {', '.join(_ROLES)}"
    extra = sorted(key for key, value in message.items() if value is not None and key not in ("role", "content"))
    if extra:
        return f'unknown key "{extra[0]}"; a message has role and content'
    return _check_text(message.get("content"), "the content")


def _check_text(text: Any, name: str) -> str | None:
    if not isinstance(text, str):
        return f"{name} is not a string"
    if not text or text.isspace():
        return f"{name} is an empty string"
    return f"{name} has a NUL character; remove it" if "\0" in text else None


def _check_order(roles: list[str]) -> str | None:
    turns = roles[1:] if roles[0] == "system" else roles
    if "user" not in turns:
        return "the row has no user message"
    expected = ("user", "assistant")
    if any(role != expected[place % 2] for place, role in enumerate(turns)):
        return f"wrong order of roles ({', '.join(roles)}); an optional system first, then user and assistant in turn"
    return None


def _check_id(row: dict[str, Any]) -> str | None:
    own = row.get("id")
    if own is None or (isinstance(own, int) and not isinstance(own, bool)):
        return None
    return _check_text(own, "the id")


def _check_gold(row: dict[str, Any]) -> str | None:
    gold = row.get("gold")
    if gold is None:
        return None
    if gold == []:
        return "gold is an empty list; leave it out"
    known = gold if isinstance(gold, list) else [gold]
    return next((rule for answer in known if (rule := _check_text(answer, "gold"))), None)


# --- checking all of it


@dataclass
class Survey:
    """What a first pass over the data found."""

    rows: dict[str, int] = field(default_factory=dict)
    """Good rows by split."""
    problems: list[str] = field(default_factory=list)
    """The first sentences about bad rows, each with file, line and rule."""
    bad_rows: int = 0

    def add_problem(self, source: Source, line: int, rule: str) -> None:
        """Note a bad row."""
        self.bad_rows += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"{source.uri}, line {line}: {rule}")

    def raise_problems(self) -> None:
        """Raise UserError with the problems, if there are any."""
        if not self.problems:
            return
        heading = "One row breaks a rule" if self.bad_rows == 1 else f"{self.bad_rows:,} rows break a rule"
        more = [f"and {hidden:,} more"] if (hidden := self.bad_rows - len(self.problems)) else []
        lines = "\n".join(f"  {problem}" for problem in [*self.problems, *more])
        raise UserError(f"{heading}; nothing was asked of the teacher.\n{lines}", reason=Reason.INVALID_DATA)


def survey(
    all_sources: Iterable[Source], task_rule: TaskRule, look: Callable[[Example], None] = lambda _: None
) -> Survey:
    """Read every row once and count them; `look` sees each good one. Raises UserError that lists the bad ones."""
    found = Survey()
    for source in all_sources:
        _survey_source(found, source, task_rule, look)
    found.raise_problems()
    return found


def _survey_source(found: Survey, source: Source, task_rule: TaskRule, look: Callable[[Example], None]) -> None:
    hashes = array("q")
    bad_before, good = found.bad_rows, 0
    with source.opened() as stream:
        for item in parsed_lines(source.split, stream):
            rule = item.rule if isinstance(item, LineError) else task_rule(item)
            if isinstance(item, LineError) or rule:
                found.add_problem(source, item.line, str(rule))
                continue
            hashes.append(hash(item.id))
            good += 1
            look(item)
    if good == 0 and found.bad_rows == bad_before:
        raise UserError(f"data.{source.split}: {source.uri} holds no rows.", reason=Reason.INVALID_DATA)
    found.rows[source.split] = good
    for line, rule in _duplicate_ids(source, hashes):
        found.add_problem(source, line, rule)


def _duplicate_ids(source: Source, hashes: array[int]) -> Iterator[tuple[int, str]]:
    """Rows whose id an earlier row has.

    Eight bytes a row tell whether any two ids may be the same; only then are those ids read again and compared.
    """
    values, counts = numpy.unique(numpy.frombuffer(hashes, dtype=numpy.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return
    first_line: dict[str, int] = {}
    with source.opened() as stream:
        for item in parsed_lines(source.split, stream):
            if isinstance(item, LineError) or hash(item.id) not in suspects:
                continue
            earlier = first_line.setdefault(item.id, item.line)
            if earlier != item.line:
                yield item.line, f'the id "{item.id}" is that of line {earlier} already'
