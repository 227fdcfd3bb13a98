"""YAML read the way kubectl reads it, with the line of every field.

kubectl uses go-yaml v2, which follows YAML 1.1 with some differences: `yes`, `on` and `y` are booleans, `3e-4` is a
number, `12:30` and dates are strings. A file must mean the same here and in a cluster, so scalars are resolved by those
rules instead of PyYAML's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from distillery_api.base import FieldPath

TEXT_TAG = "tag:yaml.org,2002:str"
PLAIN_TAG = "tag:yaml.org,2002:plain"
CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "plain", "null", "bool", "int", "float", "map", "seq")}
MERGE_KEY = "<<"

TRUE_SCALARS = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}
FALSE_SCALARS = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}
NULL_SCALARS = {"", "~", "null", "Null", "NULL"}
SPECIAL_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
INTEGER = re.compile(r"[-+]?(0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
LARGEST_EXACT_INTEGER = 2**53
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1
UNKNOWN_CHARACTER = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")
"""The escape of a number beyond Unicode's last."""
NODE_LIMIT = 100_000

HINTS = (
    ("\\t", "indent with spaces; YAML does not allow tabs"),
    ("mapping values are not allowed", "check the indentation, and quote a value that contains a colon and a space"),
    ("could not find expected ':'", "write each field as `name: value`, and check the indentation of the line before"),
    ("expected <block end>", "indent this line like the lines around it, and close quotes and brackets"),
    ("quoted scalar", "close the quotes"),
    ("undefined alias", "define the anchor with & before you use it with *, or quote a string that starts with *"),
    ("expected ',' or", "close the bracket, and put a comma between the items"),
    ("cannot start any token", "quote the value"),
)


class YamlProblem(Exception):
    """The text is not YAML, or contains what JSON cannot represent. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Location:
    """The line of a field, and its value as written in the file (`None` for lists and mappings)."""

    line: int
    written: str | None = None


@dataclass(frozen=True)
class Duplicate:
    """A key that occurs twice in a mapping, with both lines. The first value is used."""

    path: FieldPath
    first_line: int
    line: int


@dataclass
class YamlDocument:
    """One document as JSON-ready data, with the location of every field by its path."""

    value: Any
    line: int
    locations: dict[FieldPath, Location] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)

    def line_of(self, path: FieldPath) -> int:
        """The line of the field, or of its nearest ancestor in the file."""
        while path and path not in self.locations:
            path = path[:-1]
        return self.locations[path].line if path else self.line

    def written(self, path: FieldPath) -> str | None:
        """The scalar as written in the file, without quotes."""
        location = self.locations.get(path)
        return location.written if location else None


def read_documents(text: str) -> list[YamlDocument]:
    """The documents of `text`, without empty ones. Raises YamlProblem."""
    try:
        return [_Reader(node).document() for node in _compose(text) if not _is_empty(node)]
    except RecursionError:
        raise YamlProblem(1, "nested too deeply; is this a manifest?") from None


def plain_value(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar, as go-yaml v2 resolves it."""
    if text in NULL_SCALARS:
        return None
    if text in TRUE_SCALARS or text in FALSE_SCALARS:
        return text in TRUE_SCALARS
    if text.lower() in SPECIAL_FLOATS:
        return float(SPECIAL_FLOATS[text.lower()])
    return _number(text.replace("_", ""), text)


def _number(digits: str, text: str) -> str | int | float:
    """A number that 64 bits hold, else the text. An integer too large for them is read as a floating-point number."""
    integer = _integer(digits) if INTEGER.fullmatch(digits) else None
    if integer is not None:
        return integer
    if not FLOAT.fullmatch(digits) or not math.isfinite(float(digits)):
        return text
    number = float(digits)
    exact = number.is_integer() and abs(number) < LARGEST_EXACT_INTEGER
    return int(number) if exact else number


def _integer(digits: str) -> int | None:
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    try:
        integer = int(f"{octal[1]}0o{octal[2]}", 0) if octal else int(digits, 0)
    except ValueError:  # Python converts no decimal number of more than 4,300 digits.
        return None
    return integer if SMALLEST_INTEGER <= integer <= LARGEST_INTEGER else None


class _KubectlLoader(yaml.SafeLoader):
    """PyYAML's parser, which leaves the types of plain scalars to `plain_value`."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node that has no explicit one."""
        if kind is yaml.ScalarNode:
            return PLAIN_TAG if implicit[0] else TEXT_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def _compose(text: str) -> Iterator[yaml.Node]:
    try:
        yield from yaml.compose_all(text, Loader=_KubectlLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        character = f"U+{int(error.character):04X}"
        raise YamlProblem(line, f"not valid YAML: the character {character} is not allowed; remove it") from None
    except ValueError:
        unknown = UNKNOWN_CHARACTER.search(text)
        line = text.count("\n", 0, unknown.start() if unknown else 0) + 1
        raise YamlProblem(line, f"not valid YAML: {unknown[0] if unknown else 'an escape'} is no character") from None


def _syntax_problem(error: yaml.MarkedYAMLError) -> YamlProblem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = (error.problem or error.context or "cannot be parsed").replace("\n", " ")
    known = f"{error.context or ''} {problem}"
    hint = next((hint for pattern, hint in HINTS if pattern in known), "check the indentation and the quotes")
    return YamlProblem(line, f"not valid YAML at column {column}: {problem}; {hint}")


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == PLAIN_TAG and node.value in NULL_SCALARS


class _Reader:
    """Turns the nodes of one document into values, and records the location of each field."""

    def __init__(self, root: yaml.Node) -> None:
        self.root = root
        self.locations: dict[FieldPath, Location] = {}
        self.duplicates: list[Duplicate] = []
        self.nodes = 0
        self.open: list[yaml.Node] = []

    def document(self) -> YamlDocument:
        """The whole document. Raises YamlProblem."""
        value = self.read(self.root, ())
        return YamlDocument(value, self.root.start_mark.line + 1, self.locations, self.duplicates)

    def read(self, node: yaml.Node, path: FieldPath) -> Any:
        """The value of `node` at `path`."""
        self.guard(node)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.item(child, (*path, index)) for index, child in enumerate(node.value)]
            return self.scalar(node)
        finally:
            self.open.pop()

    def scalar(self, node: yaml.Node) -> str | int | float | bool | None:
        """The value of a scalar. Raises YamlProblem for half of a surrogate pair, which no other program can read."""
        text = str(node.value)
        half = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
        if half:
            line = node.start_mark.line + 1
            raise YamlProblem(line, f"not valid YAML: U+{ord(half):04X} is half a character; write the whole character")
        return text if node.tag == TEXT_TAG else plain_value(text)

    def guard(self, node: yaml.Node) -> None:
        """Reject what JSON cannot represent: foreign tags, and aliases that contain themselves or grow without
        bound."""
        line = node.start_mark.line + 1
        self.nodes += 1
        if node.tag not in CORE_TAGS:
            raise YamlProblem(line, f"the tag {_short_tag(node.tag)} is not supported; remove it")
        if any(node is parent for parent in self.open):
            raise YamlProblem(line, "the anchor contains an alias of itself; write the value out")
        if self.nodes > NODE_LIMIT:
            raise YamlProblem(
                line, f"more than {NODE_LIMIT:,} values after its aliases are expanded; is this a manifest?"
            )

    def item(self, node: yaml.Node, path: FieldPath) -> Any:
        """An item of a list."""
        self.locations[path] = Location(node.start_mark.line + 1, _written(node))
        return self.read(node, path)

    def mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        """A mapping with strings as keys. The second occurrence of a key is recorded and not read."""
        merged: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node)
            if key == MERGE_KEY and key_node.tag == PLAIN_TAG:
                merged.update(self.merged(value_node, path))
                continue
            location = Location(key_node.start_mark.line + 1, _written(value_node))
            if key in values:
                self.duplicates.append(Duplicate((*path, key), self.locations[(*path, key)].line, location.line))
                continue
            self.locations[(*path, key)] = location
            values[key] = self.read(value_node, (*path, key))
        return {**merged, **values}

    def key(self, node: yaml.Node) -> str:
        """A key of a mapping, as in JSON."""
        if not isinstance(node, yaml.ScalarNode):
            raise YamlProblem(node.start_mark.line + 1, "a field name must be a string; quote it")
        value = self.scalar(node)
        return str(value).lower() if isinstance(value, bool) else str(node.value)

    def merged(self, node: yaml.Node, path: FieldPath) -> dict[str, Any]:
        """The fields that `<<` merges; earlier mappings take precedence."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        fields: dict[str, Any] = {}
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                raise YamlProblem(
                    node.start_mark.line + 1, "<< merges mappings only; write <<: *ANCHOR, with the anchor of a mapping"
                )
            fields.update(self.mapping(source, path))
        return fields


def field_name(path: FieldPath) -> str:
    """A path in kubectl's notation, such as spec.generation.teachers[0].name."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _written(node: yaml.Node) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
