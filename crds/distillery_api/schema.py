"""Pydantic models -> the structural OpenAPI schema of the CRD, with the models' rules.

Pydantic emits `$ref`, `anyOf [.., null]`, numeric `exclusiveMinimum` and `const`, all of which a structural schema
refuses (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/); this module
rewrites them. The CustomResourceDefinition around the schema is made in crd.py.
"""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from distillery_api.base import RULES_KEYWORD, ApiModel

KEPT_KEYWORDS = (
    "type",
    "description",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-int-or-string",
    RULES_KEYWORD,
)


class _WithRules(GenerateJsonSchema):
    """Pydantic's generator, with each model's CEL rules beside its properties."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """The model's JSON schema with its rules, and whether it keeps unknown fields."""
        generated = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        if issubclass(model, ApiModel) and model.rules:
            generated[RULES_KEYWORD] = [item for rule in model.rules for item in rule.to_schema()]
        if model.model_config.get("extra") == "allow":
            generated["x-kubernetes-preserve-unknown-fields"] = True
        generated["description"] = inspect.cleandoc(model.__doc__ or "")
        return generated


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of `model`, without `$ref`."""
    generated = model.model_json_schema(by_alias=True, schema_generator=_WithRules, mode="validation")
    return _structural(generated, generated.get("$defs", {}))


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, definitions)
    if node.get("x-kubernetes-int-or-string"):
        node = {key: value for key, value in node.items() if key not in ("type", "format")}
    result = {key: one_line(key, node[key]) for key in KEPT_KEYWORDS if key in node}
    result |= _exclusive_bounds(node)
    if "const" in node:
        result["enum"] = [node["const"]]
    return result | _children(node, definitions)


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with its reference, or its one alternative besides null, put in its place; the node's own words win."""
    alternatives = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
    rest = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "allOf")}
    if isinstance(rest.get("default"), dict):
        rest["default"] = {}  # the server fills the members' own defaults in
    elif rest.get("default", 0) is None:
        del rest["default"]
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].removeprefix("#/$defs/")], definitions) | rest
    if len(alternatives) == 1:
        return _resolved(alternatives[0], definitions) | rest
    return rest


def _exclusive_bounds(node: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 knows `exclusiveMinimum` as a flag beside `minimum`, JSON Schema as the number itself."""
    bounds: dict[str, Any] = {}
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if flag in node:
            bounds |= {bound: node[flag], flag: True}
    return bounds


def _children(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    children: dict[str, Any] = {}
    if "properties" in node:
        children["properties"] = {name: _structural(child, definitions) for name, child in node["properties"].items()}
        required = [name for name in node.get("required", []) if name in node["properties"]]
        if required:
            children["required"] = required
    elif isinstance(node.get("additionalProperties"), dict):
        children["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    if node.get("x-kubernetes-preserve-unknown-fields"):
        children["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in node:
        children["items"] = _without_defaults(_structural(node["items"], definitions))
        children |= _list_type(node)
    return children


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list's items without defaults: tools that compare an object with the manifest in a repository
    (Argo CD) compare lists as a whole, so an item that the server has added to would always differ. Readers of the
    object fill these defaults in."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in schema:
        result["properties"] = {name: _without_defaults(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            result[key] = _without_defaults(schema[key])
    return result


def _list_type(node: dict[str, Any]) -> dict[str, Any]:
    """Lists with a key are merged by it; others are replaced whole."""
    key = node.get("x-list-key")
    return (
        {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
        if key
        else {"x-kubernetes-list-type": "atomic"}
    )


def one_line(keyword: str, value: Any) -> Any:
    """A description on one line; the value of any other keyword as it is."""
    return " ".join(value.split()) if keyword == "description" else value
