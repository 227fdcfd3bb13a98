"""The base of every model of the API: camelCase outside, snake_case inside, and how a rule travels to the schema."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema


@dataclass(frozen=True)
class Rule:
    """A rule as the API server checks it.

    `expression` is CEL over `self`; `message` names the field and the remedy. The Python twin is a validator of the
    same model, and a test holds both against one table of manifests.
    """

    expression: str
    message: str

    def to_schema(self) -> dict[str, str]:
        """The rule as an item of `x-kubernetes-validations`."""
        return {"rule": self.expression, "message": self.message}


@dataclass(frozen=True)
class Matches:
    """Annotates a string that must match `pattern` (RE2, whole string), with a sentence for when it does not.

    The schema's own `pattern` would show people the expression instead of the remedy.
    """

    pattern: str
    message: str

    def rule(self) -> Rule:
        """The same check in CEL."""
        return Rule(f"self.matches({json.dumps(self.pattern)})", self.message)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        expression = re.compile(self.pattern)

        def check(value: str) -> str:
            if not expression.fullmatch(value):
                raise PydanticCustomError("matches", "{message}", {"message": self.message})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "x-kubernetes-validations": [self.rule().to_schema()]}


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

    def to_manifest(self) -> dict[str, Any]:
        """The model as JSON-ready data with camelCase keys; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenModel(ApiModel):
    """A piece that keeps fields it does not know, because somebody else's schema (a Pod's) defines them."""

    model_config = ConfigDict(extra="allow")


class Record(ApiModel):
    """A piece written by one version of the software and read by another: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")
