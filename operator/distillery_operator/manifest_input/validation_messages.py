"""Pydantic's errors -> messages that say what is wrong and what to write instead."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from distillery_api.base import ApiModel, FieldPath, Rule
from distillery_api.resource import Distillation
from distillery_operator.manifest_input.yaml_document import YamlDocument, field_name, plain_value

SHOWN_TEXT_LIMIT = 60
NO_VALUE = "has no value; write one, or remove the field"


@dataclass(frozen=True)
class FieldProblem:
    """A problem of the field at `path`. `line` is set only if it differs from the line of the field."""

    path: FieldPath
    message: str
    line: int | None = None


def field_problems(error: ValidationError, document: YamlDocument) -> list[FieldProblem]:
    """One problem for each invalid field, and one for each broken rule."""
    found: dict[tuple[FieldPath, str], FieldProblem] = {}
    details = error.errors(include_url=False)
    for detail in details:
        if not _follows_from_another(detail, details):
            problem = _field_problem(detail, document)
            rule = problem.message if detail["type"] == "rule" else ""
            found.setdefault((problem.path, rule), problem)
    return list(found.values())


def rule_problems(broken: Iterable[tuple[FieldPath, Rule]], document: YamlDocument) -> list[FieldProblem]:
    """One problem for each broken rule of the model at a path."""
    return [_rule_problem(_within(document, path), rule.message) for path, rule in broken]


def _follows_from_another(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a list counts as too short only because pydantic does not count its invalid items, or a field as missing
    only because it is spelt differently."""
    own, others = detail["loc"], [each for each in details if each is not detail]
    if detail["type"] == "too_short":
        return any(each["loc"][: len(own)] == own for each in others)
    spelling = (*own[:-1], _spelling(own[-1])) if own else own
    return detail["type"] == "missing" and any(
        each["type"] == "extra_forbidden" and (*each["loc"][:-1], _spelling(each["loc"][-1])) == spelling
        for each in others
    )


def _spelling(name: str | int) -> str:
    """What two spellings of one name, such as maxTokens and max_tokens, have in common."""
    return str(name).replace("_", "").replace("-", "").lower()


def _field_problem(detail: ErrorDetails, document: YamlDocument) -> FieldProblem:
    path, message = _located(detail, document)
    kind = detail["type"]
    if kind == "rule":
        return _rule_problem(path, message)
    describe = MESSAGES.get(kind)
    return FieldProblem(path, describe(detail, path, document) if describe else f"{message[0].lower()}{message[1:]}")


def _located(detail: ErrorDetails, document: YamlDocument) -> tuple[FieldPath, str]:
    """The error's path without what pydantic adds for the branches of a union."""
    path: FieldPath = tuple(detail["loc"])
    if detail["type"] == "missing":
        return path, detail["msg"]
    return _within(document, path), detail["msg"]


def _within(document: YamlDocument, path: FieldPath) -> FieldPath:
    """The path as far as the document has it."""
    while path and path not in document.locations:
        path = path[:-1]
    return path


def _rule_problem(path: FieldPath, message: str) -> FieldProblem:
    """A problem from one of our rules. The message of a rule over several fields starts with the field to change."""
    named = re.match(r"([a-z][A-Za-z.]*): ", message)
    if not named:
        return FieldProblem(path, message)
    parts = tuple(named[1].split("."))
    return FieldProblem(path if path[-len(parts) :] == parts else (*path, *parts), message[named.end() :])


Describe = Callable[[ErrorDetails, FieldPath, YamlDocument], str]


def _missing(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    model = next(iter(_models_at(path[:-1])), None)
    description = next((d for name, d in _descriptions(model) if name == path[-1]), None)
    meaning = f". {_first_sentence(description)}" if description else ""
    return f"missing; add it{meaning}"


def _unknown(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    section = tuple(part for part in path[:-1] if isinstance(part, str))
    names = [name for model in _models_at(section) for name, _ in _descriptions(model)]
    return f"unknown field; {_suggestion(str(path[-1]), section, names)}"


def _suggestion(name: str, section: FieldPath, names: list[str]) -> str:
    """What is meant instead of `name`, which stands in a section that has `names`."""
    by_spelling = {_spelling(each): each for each in names}
    close = difflib.get_close_matches(_spelling(name), by_spelling, n=1, cutoff=0.7)
    begun = [spelling for spelling in by_spelling if len(name) > 2 and spelling.startswith(_spelling(name))]
    if likely := close or begun:
        return f"did you mean {by_spelling[likely[0]]}?"
    places = [path for path, _ in _all_fields() if path[-1] == name and "podTemplate" not in path[len(section) : -1]]
    if deeper := _nearest_to_the_top([path for path in places if path[: len(section)] == section]):
        return f"did you mean {' or '.join(map(field_name, deeper[:3]))}?"
    if not names:
        return "remove it"
    return f"known fields are {', '.join(names)}{_elsewhere(places)}"


def _elsewhere(places: list[FieldPath]) -> str:
    """Where else a field of the name is, if that is in one section, and not deep in it: elsewhere the same name means
    other things."""
    nearest = _nearest_to_the_top(places)
    if len(nearest) != 1 or len(nearest[0]) > len(("spec", "section", "field")):
        return ""
    section = nearest[0][:-1]
    is_alone = all(path[: len(section)] == section for path in places)
    return f"; {field_name(nearest[0])} has this name" if is_alone else ""


def _nearest_to_the_top(paths: list[FieldPath]) -> list[FieldPath]:
    """Those that have the fewest others above them."""
    least = min(map(len, paths), default=0)
    return [path for path in paths if len(path) == least]


def _not_string(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    written = document.written(path)
    value = detail["input"]
    if value is None:
        return NO_VALUE
    if written is None:
        return f"is {_kind_of(value)}, not a string; write a single value"
    if isinstance(value, bool):
        return f'`{written}` is a boolean in YAML, not a string; quote it: "{written}"'
    return f"`{written}` is a number in YAML, not a string; " + (
        _broken_rule(path, written) or f'quote it: "{written}"'
    )


def _broken_rule(path: FieldPath, text: str) -> str | None:
    """What the field's own rule says of the text where it breaks it, so that quoting a number would not help; of items
    of lists none is known."""
    fields = [field for model in _models_at(path[:-1]) for field in model.model_fields.values()]
    rules = [rule for field in fields if field.alias == path[-1] for rule in _rules_of(field)]
    return next((rule.message for rule in rules if not rule.holds(text)), None)


def _rules_of(field: FieldInfo) -> Iterator[Rule]:
    """The rules of a field's value, also of one that may be absent."""
    optional = [each for inner in typing.get_args(field.annotation) for each in getattr(inner, "__metadata__", ())]
    yield from (each for each in (*field.metadata, *optional) if isinstance(each, Rule))


def _not_number(example: str) -> Describe:
    def describe(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
        value, written = detail["input"], document.written(path)
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", value):
            if isinstance(plain_value(value), str):
                return f"{_shown(value)} is too large for a number; write {example}"
            return f'"{value}" is a string because it is quoted; write the number without quotes'
        if isinstance(value, bool):
            return f"`{written}` is a boolean in YAML, not a number; write {example}"
        return f"{_shown(value)} is not {example}; write one"

    return describe


def _not_boolean(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    value = detail["input"]
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return f'"{value}" is a string because it is quoted; write {_as_boolean(value)} without quotes'
    return f"{_shown(value)} is not a boolean; write true or false, without quotes"


def _as_boolean(value: str) -> str:
    return "true" if value.lower() in ("true", "yes", "on") else "false"


def _not_allowed(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    names = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
    written, value = document.written(path), detail["input"]
    if isinstance(value, bool):
        return f"`{written}` is a boolean in YAML; write {_one_of(names)}"
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=1, cutoff=0.6)
    hint = f"did you mean {by_lower[close[0]]}?" if close and len(names) > 1 else f"write {_one_of(names)}"
    return f"{_shown(value)} is not an allowed value; {hint}"


def _one_of(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _not_list(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    return f"is {_kind_of(detail['input'])}, not a list; write each item on its own line after `- `, or write [a, b]"


def _not_mapping(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
    names = [name for model in _models_at(path) for name, _ in _descriptions(model)]
    fields = f" ({', '.join(names[:6])}{', …' if len(names) > 6 else ''})" if names else ""
    return f"is {_kind_of(detail['input'])}, not an object; write its fields{fields} on separate lines below"


def _limit(problem: str, remedy: str, key: str) -> Describe:
    def describe(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
        limit = detail["ctx"][key]
        number = f"{limit:g}" if isinstance(limit, float) else f"{limit}"
        return f"{_shown(document.written(path) or detail['input'])} {problem}; {remedy.format(number)}"

    return describe


def _length(problem: str, remedy: str, key: str) -> Describe:
    def describe(detail: ErrorDetails, path: FieldPath, document: YamlDocument) -> str:
        return f"{problem}; {remedy.format(detail['ctx'][key])}"

    return describe


MESSAGES: dict[str, Describe] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "string_type": _not_string,
    "int_type": _not_number("an integer"),
    "int_from_float": _not_number("an integer"),
    "float_type": _not_number("a number"),
    "bool_type": _not_boolean,
    "enum": _not_allowed,
    "literal_error": _not_allowed,
    "tuple_type": _not_list,
    "list_type": _not_list,
    "model_type": _not_mapping,
    "dict_type": _not_mapping,
    "greater_than": _limit("is too small", "write more than {}", "gt"),
    "greater_than_equal": _limit("is too small", "write at least {}", "ge"),
    "less_than": _limit("is too large", "write less than {}", "lt"),
    "less_than_equal": _limit("is too large", "write at most {}", "le"),
    "string_too_short": _length("is empty or too short", "write at least {} character(s)", "min_length"),
    "string_too_long": _length("is too long", "write at most {} characters", "max_length"),
    "too_short": _length("has too few items", "write at least {}", "min_length"),
    "too_long": _length("has too many items", "write at most {}", "max_length"),
}


def _kind_of(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "empty")


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return _kind_of(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if len(text) <= SHOWN_TEXT_LIMIT else f"`{text[:SHOWN_TEXT_LIMIT]}…`"


def _first_sentence(description: str) -> str:
    return " ".join(description.split()).split(". ")[0].rstrip(".")


def _models_in(annotation: Any) -> Iterator[type[ApiModel]]:
    """The models that a field's annotation allows, looking through Optional, Annotated and tuples."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, ApiModel):
            yield annotation
        return
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _models_at(path: FieldPath) -> list[type[ApiModel]]:
    """The models of the API that are possible at `path`."""
    models: list[type[ApiModel]] = [Distillation]
    for part in path:
        if isinstance(part, str):
            models = [inner for model in models for inner in _field_models(model, part)]
    return models


def _field_models(model: type[ApiModel], name: str) -> Iterator[type[ApiModel]]:
    for field in model.model_fields.values():
        if field.alias == name:
            yield from _models_in(field.annotation)


def _descriptions(model: type[ApiModel] | None) -> list[tuple[str, str]]:
    """The fields of the model, by their names in a manifest, with their descriptions."""
    if model is None:
        return []
    fields = model.model_fields.items()
    return [(field.alias or name, field.description or "") for name, field in fields if name != "status"]


def _all_fields(model: type[ApiModel] = Distillation, path: FieldPath = ()) -> Iterator[tuple[FieldPath, str]]:
    """Every field below `model`."""
    for name, description in _descriptions(model):
        yield (*path, name), description
        for inner in _field_models(model, name):
            yield from _all_fields(inner, (*path, name))
