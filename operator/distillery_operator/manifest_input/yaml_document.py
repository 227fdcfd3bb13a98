"""YAML read the way kubectl reads it, with the line of every field.

kubectl goes through go-yaml v2, which follows YAML 1.1 with differences of its own: `yes`, `on` and `y` are booleans,
`3e-4` is a number, `12:30` and dates are text. A file that means one thing here and another in a cluster would be a
trap, so scalars are resolved by those rules instead of PyYAML's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

TEXT_TAG = "tag:yaml.org,2002:str"
PLAIN_TAG = "tag:yaml.org,2002:plain"
CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "plain", "null", "bool", "int", "float", "map", "seq")}
MERGE_KEY = "<<"

TRUE_WORDS = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}
FALSE_WORDS = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}
NULL_WORDS = {"", "~", "null", "Null", "NULL"}
SPECIAL_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
INTEGER = re.compile(r"[-+]?(0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
LARGEST_EXACT_INTEGER = 2**53
NODE_LIMIT = 100_000

HINTS = (
    ("\\t", "indent with spaces; YAML does not allow tabs"),
    ("mapping values are not allowed", "check the indentation, and quote a value that contains a colon and a space"),
    ("could not find expected ':'", "write each field as `name: value`, and check the indentation of the line before"),
    ("expected <block end>", "indent this line as its neighbours, and close quotes and brackets"),
    ("quoted scalar", "close the quotes"),
    ("undefined alias", "define the anchor with & before you use it with *, or quote a text that starts with *"),
    ("expected ',' or", "close the bracket, and put a comma between the items"),
    ("cannot start any token", "quote the value"),
)


class YamlProblem(Exception):
    """The text is not YAML, or holds what JSON cannot. `line` counts from 1; the message is a sentence."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Place:
    """Where a field stands and how its value is written (`None` for lists and mappings)."""

    line: int
    written: str | None = None


@dataclass(frozen=True)
class Duplicate:
    """A key that its mapping already had, with the lines of both; the first value is the one read."""

    path: Path
    first_line: int
    line: int


@dataclass
class YamlDocument:
    """One document as JSON-ready data, with the place of every field by its path."""

    value: Any
    line: int
    places: dict[Path, Place] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """The line of the field, else of its nearest ancestor that is written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path].line if path else self.line

    def written(self, path: Path) -> str | None:
        """The scalar as it stands in the file, without its quotes."""
        place = self.places.get(path)
        return place.written if place else None


def read_documents(text: str) -> list[YamlDocument]:
    """The documents of `text`, empty ones left out. Raises YamlProblem."""
    try:
        return [_Reader(node).document() for node in _compose(text) if not _is_empty(node)]
    except RecursionError:
        raise YamlProblem(1, "nested too deeply; is this a manifest?") from None


def plain_value(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar, as go-yaml v2 resolves it."""
    if text in NULL_WORDS:
        return None
    if text in TRUE_WORDS or text in FALSE_WORDS:
        return text in TRUE_WORDS
    if text.lower() in SPECIAL_FLOATS:
        return float(SPECIAL_FLOATS[text.lower()])
    return _number(text.replace("_", ""), text)


def _number(digits: str, text: str) -> str | int | float:
    if INTEGER.fullmatch(digits):
        return _integer(digits)
    if FLOAT.fullmatch(digits):
        number = float(digits)
        exact = number.is_integer() and abs(number) < LARGEST_EXACT_INTEGER
        return int(number) if exact else number
    return text


def _integer(digits: str) -> int:
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    return int(f"{octal[1]}0o{octal[2]}", 0) if octal else int(digits, 0)


class _KubectlLoader(yaml.SafeLoader):
    """PyYAML's parser; whether a plain scalar is text is left to `plain_value`."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node without one of its own."""
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


def _syntax_problem(error: yaml.MarkedYAMLError) -> YamlProblem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = (error.problem or error.context or "cannot be parsed").replace("\n", " ")
    known = f"{error.context or ''} {problem}"
    hint = next((hint for words, hint in HINTS if words in known), "check the indentation and the quotes")
    return YamlProblem(line, f"not valid YAML at column {column}: {problem}; {hint}")


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == PLAIN_TAG and node.value in NULL_WORDS


class _Reader:
    """Turns one document's nodes into values, noting each field's place."""

    def __init__(self, root: yaml.Node) -> None:
        self.root = root
        self.places: dict[Path, Place] = {}
        self.duplicates: list[Duplicate] = []
        self.nodes = 0
        self.open: list[yaml.Node] = []

    def document(self) -> YamlDocument:
        """The whole document. Raises YamlProblem."""
        value = self.read(self.root, ())
        return YamlDocument(value, self.root.start_mark.line + 1, self.places, self.duplicates)

    def read(self, node: yaml.Node, path: Path) -> Any:
        """The value of `node`, which stands at `path`."""
        self.guard(node)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.item(child, (*path, index)) for index, child in enumerate(node.value)]
            return node.value if node.tag == TEXT_TAG else plain_value(node.value)
        finally:
            self.open.pop()

    def guard(self, node: yaml.Node) -> None:
        """Refuses what JSON cannot hold: foreign tags, aliases that contain themselves or grow without bound."""
        line = node.start_mark.line + 1
        self.nodes += 1
        if node.tag not in CORE_TAGS:
            raise YamlProblem(line, f"the tag {_short_tag(node.tag)} has no meaning here; remove it")
        if any(node is parent for parent in self.open):
            raise YamlProblem(line, "the anchor contains an alias of itself; write the value out")
        if self.nodes > NODE_LIMIT:
            raise YamlProblem(
                line, f"more than {NODE_LIMIT:,} values once its aliases are expanded; is this a manifest?"
            )

    def item(self, node: yaml.Node, path: Path) -> Any:
        """An item of a list."""
        self.places[path] = Place(node.start_mark.line + 1, _written(node))
        return self.read(node, path)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        """A mapping with text as keys; a key given again is noted and not read."""
        merged: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node)
            if key == MERGE_KEY and key_node.tag == PLAIN_TAG:
                merged.update(self.merged(value_node, path))
                continue
            place = Place(key_node.start_mark.line + 1, _written(value_node))
            if key in values:
                self.duplicates.append(Duplicate((*path, key), self.places[(*path, key)].line, place.line))
                continue
            self.places[(*path, key)] = place
            values[key] = self.read(value_node, (*path, key))
        return {**merged, **values}

    def key(self, node: yaml.Node) -> str:
        """A mapping's key as JSON has it."""
        if not isinstance(node, yaml.ScalarNode):
            raise YamlProblem(node.start_mark.line + 1, "a field's name must be text; quote it")
        value = node.value if node.tag == TEXT_TAG else plain_value(node.value)
        return str(value).lower() if isinstance(value, bool) else str(node.value)

    def merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """The fields that `<<` brings in, earlier mappings before later ones."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        fields: dict[str, Any] = {}
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                raise YamlProblem(node.start_mark.line + 1, "<< merges mappings only; write << : *ANCHOR of a mapping")
            fields.update(self.mapping(source, path))
        return fields


def field_name(path: Path) -> str:
    """A path as kubectl writes it, such as spec.generation.teachers[0].name."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _written(node: yaml.Node) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
