"""The base of every model of the API: camelCase outside, snake_case inside, and rules that the schema holds as well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

Value = TypeVar("Value")
FieldPath = tuple[str | int, ...]
"""Names of fields and numbers of items, from the outside."""

RULES_KEYWORD = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """A rule that the API server and Python both check: of a model, in its `rules`, or of a value, in `Annotated`.

    A test checks `expression` and `holds` against the same manifests.
    """

    expression: str | None
    """The rule in CEL, over `self`; None where CEL cannot see what it is about."""
    message: str
    """What is wrong, in which field, and what to write instead."""
    holds: Callable[[Any], bool]
    """The same rule in Python, over the validated model or value; stricter only where CEL cannot say it."""

    def check(self, value: Value) -> Value:
        """`value`. Raises PydanticCustomError where the rule does not hold."""
        if not self.holds(value):
            raise self.error()
        return value

    def error(self) -> PydanticCustomError:
        """What is raised where the rule does not hold."""
        return PydanticCustomError("rule", "{message}", {"message": self.message})

    def to_schema(self) -> list[dict[str, str]]:
        """The rule as an item of `x-kubernetes-validations`; none where CEL cannot say it."""
        return [] if self.expression is None else [{"rule": self.expression, "message": self.message}]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        generated = handler(schema)
        return {**generated, RULES_KEYWORD: [*generated.get(RULES_KEYWORD, []), *self.to_schema()]}


def matches(pattern: str, message: str) -> Rule:
    """The rule of a text that must match `pattern` (RE2, from ^ to $).

    The schema's own `pattern` would show people the expression instead of the message.
    """
    compiled = re.compile(pattern)
    return Rule(f"self.matches({json.dumps(pattern)})", message, lambda text: compiled.fullmatch(text) is not None)


def transition(expression: str, message: str) -> Rule:
    """The rule of a change, over `self` and `oldSelf` in CEL. Only the API server, which has the former object, checks
    it; it skips a change of a former object that breaks another rule."""
    return Rule(expression, message, lambda _: True)


class NotIdentity:
    """Marks a field that no stage's result depends on, in `Annotated`: changing it runs no stage again.

    Such fields say where a stage runs, who answers, how fast, at what cost and when to give up, not what comes out.
    """


@dataclass(frozen=True)
class FirstDefault:
    """The default that a field had when it was introduced, in `Annotated`, once its default has changed.

    The API server stores defaults, so a stored object may hold an earlier release's default as if its user had given
    it. Identities leave out the first default and no other, so that a release with a new default runs no stage again.
    """

    value: Any


class NotServerIdentity:
    """Marks a field of `spec.serving` that the server's Pods do not depend on, in `Annotated`: changing it replaces no
    Pod."""


class ApiModel(BaseModel):
    """A strict, immutable piece of the API. Unknown fields are errors; field docstrings are CRD descriptions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules that join several fields; all that do not hold are named, in this order."""

    @model_validator(mode="after")
    def _check_rules(self, info: ValidationInfo) -> Self:
        broken = [rule for rule in self.rules if not rule.holds(self)]
        if broken and isinstance(info.context, BrokenRules):
            info.context.gathered.append((self, broken))
        elif broken:
            raise ValidationError.from_exception_data(
                type(self).__name__, [InitErrorDetails(type=rule.error(), input=self) for rule in broken]
            )
        return self

    def to_manifest(self) -> dict[str, Any]:
        """The model as JSON-ready data with camelCase keys; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenModel(ApiModel):
    """A piece that keeps fields it does not know, because somebody else's schema (a Pod's) defines them."""

    model_config = ConfigDict(extra="allow")


class LenientModel(ApiModel):
    """A piece written by one version of the software and read by another: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


@dataclass
class BrokenRules:
    """As the context of a validation: gathers the rules of models that do not hold, so that those of the models around
    them are checked as well."""

    gathered: list[tuple[ApiModel, list[Rule]]] = field(default_factory=list)

    def located(self, validated: object, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Rule]]:
        """The broken rules below `validated`, each with the path of its model."""
        if isinstance(validated, ApiModel):
            yield from ((path, rule) for model, rules in self.gathered if model is validated for rule in rules)
            for name, described in type(validated).model_fields.items():
                yield from self.located(getattr(validated, name), (*path, described.alias or name))
        elif isinstance(validated, list | tuple):
            for number, item in enumerate(validated):
                yield from self.located(item, (*path, number))
        elif isinstance(validated, dict):
            for key, item in validated.items():
                yield from self.located(item, (*path, key))
