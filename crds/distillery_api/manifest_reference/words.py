"""The words of the models as Markdown: docstrings, types and defaults of fields, members of enums."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable
from enum import Enum
from typing import Any, get_args

from distillery_api.base import RULES_KEYWORD

_CODE = re.compile(
    r"`[^`]*`"  # marked as code already
    r"|<[^<>\s]+>"
    r"|\{(?:[^{}]|\{[^{}]*\})+\}"
    r"|\b[a-z0-9]+://[^\s,;)]*[^\s,;.:)]"
    r"|(?:\*\.)?\b[a-z][-\w]*(?:\[\d*\])?(?:\.[-\w]+(?:\[\d*\])?)+(?:/[-\w]*)*"
    r"|\b(?!(?:vLLM|arXiv|spaCy)\b)[a-z]+(?:[A-Z][a-z0-9]*)+\b"
    r"|\b[a-z]+(?:_[a-z]+)+\b"
    r"|\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+_?"
)
_DEFAULT = re.compile(r"(?s:^(.*?)\s*\bDefault((?: for [^:.]+)?): (.*?)\.?$)")
_ANY = "any"


def as_markdown(text: str) -> str:
    """Plain text with names of fields, variables and addresses as code, and without what a table cannot hold."""
    pieces, end = [], 0
    for match in _CODE.finditer(text):
        pieces += [_escaped(text[end : match.start()]), as_code(match[0].strip("`"))]
        end = match.end()
    return "".join([*pieces, _escaped(text[end:])])


def as_code(text: str) -> str:
    """Text as code in the cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def _escaped(text: str) -> str:
    return re.sub(r"([|*<>])", r"\\\1", text)


def split_default(description: str) -> tuple[str, str | None]:
    """What a field's docstring says of the field, and what it says of the default, if it does."""
    text = " ".join(description.split())
    match = _DEFAULT.match(text)
    if match is None:
        return text, None
    said, task, default = match.groups()
    return said, f"{task.strip()}: {default}" if task else default


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a field's value and its bounds, of a structural schema."""
    if "enum" in schema:
        return ", ".join(map(as_code, schema["enum"]))
    if schema.get("x-kubernetes-int-or-string"):
        return "text or integer"
    phrase = _PHRASES.get(schema.get("type", ""))
    return phrase(schema) if phrase else _ANY


def _list(schema: dict[str, Any]) -> str:
    items = kind_of(schema["items"])
    return f"list{_count(schema, 'Items')}" + (f" of {items}" if items != _ANY else "")


def _object(schema: dict[str, Any]) -> str:
    values = schema.get("additionalProperties")
    return f"map{_count(schema, 'Properties')} of text to {kind_of(values)}" if values else "object"


def _text(schema: dict[str, Any]) -> str:
    return "text" + (f" (at most {schema['maxLength']:,} characters)" if "maxLength" in schema else "")


def _count(schema: dict[str, Any], of: str) -> str:
    least, most = schema.get(f"min{of}", 0), schema.get(f"max{of}")
    if most is None:
        return ""
    if least == most:
        return f" (exactly {most})"
    return f" ({least} to {most:,})" if least else f" (at most {most:,})"


def _range(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None or most is None:
        return ""
    lower = f"above {least:,}" if schema.get("exclusiveMinimum") else f"{least:,}"
    upper = f"below {most:,}" if schema.get("exclusiveMaximum") else f"{most:,}"
    return f" ({lower} to {upper})"


_PHRASES: dict[str, Callable[[dict[str, Any]], str]] = {
    "array": _list,
    "object": _object,
    "string": _text,
    "integer": lambda schema: f"integer{_range(schema)}",
    "number": lambda schema: f"number{_range(schema)}",
    "boolean": lambda schema: "true or false",
}


def sentences_of(schema: dict[str, Any]) -> list[str]:
    """The sentences with which a value is refused, or an item of it; not those of an object inside."""
    inner = schema.get("items", schema)
    return [] if "properties" in inner else [rule["message"] for rule in inner.get(RULES_KEYWORD, ())]


def explained_members(annotation: Any) -> dict[str, str]:
    """The members of the enums in a type that have a docstring of their own, with it."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _member_docstrings(annotation)
    return {name: text for inner in get_args(annotation) for name, text in explained_members(inner).items()}


def _member_docstrings(enum: type[Enum]) -> dict[str, str]:
    """Value and docstring of each member; Python itself forgets a docstring below an assignment."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(enum))).body[0]
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    found = {}
    for member, after in itertools.pairwise(body):
        match member, after:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[str(enum[name].value)] = " ".join(text.split())
    return found
