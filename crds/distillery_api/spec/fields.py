"""Types of field values, each with a message for values that do not match."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictInt
from pydantic_core import PydanticCustomError

from distillery_api.answer_schema import InvalidSchema, JsonSchema, written_out
from distillery_api.base import ApiModel, Rule, matches
from distillery_api.spec.endpoints import HOST, PORT, has_no

_NAME = r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"


def _is_quantity(value: int | str) -> bool:
    return value >= 0 if isinstance(value, int) else re.fullmatch(QUANTITY, value) is not None


ObjectName = Annotated[
    str,
    Field(max_length=253),
    matches(f"^{_NAME}$", "not a valid object name; use lowercase letters, digits, - and ."),
]
ShortName = Annotated[
    str,
    Field(max_length=63),
    matches(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "not a valid name; use lowercase letters, digits and -, at most 63 characters",
    ),
]
SecretKey = Annotated[
    str, Field(max_length=253), matches("^[-._a-zA-Z0-9]+$", "not a valid Secret key; use letters, digits, -, _ and .")
]
_USER = "[-a-zA-Z0-9._~!$&'()*+,;=:%]+"
_SLASH = r"(/|\\|%2[fF]|%5[cC])"
_inside = has_no(
    rf"^[a-z0-9]+://(.*{_SLASH})?(\.|%2[eE]){{2}}({_SLASH}|[?#]|$)",
    "has a part .., which leads out of the place that it names; write the path without it",
)
SourceUri = Annotated[
    str,
    Field(max_length=1024),
    _inside,
    matches(
        rf"^(pvc://{_NAME}/([^/].*)?|configmap://{_NAME}/[-._a-zA-Z0-9*?\[\]]*|file:///.+"
        rf"|https://({_USER}@)?{HOST}(:{PORT})?/\S+|(s3|gs|abfs)://[-._@:a-zA-Z0-9]+/\S*"
        r"|hf://datasets/[-._a-zA-Z0-9]+/[-._a-zA-Z0-9]+(@[-._/a-zA-Z0-9]+)?(/\S*)?|[^:]+)$",
        "not a supported location of rows; use pvc://CLAIM/PATH, configmap://NAME/KEY, https://HOST/PATH,"
        " s3://BUCKET/KEY, gs://BUCKET/KEY, abfs://CONTAINER/PATH, hf://datasets/ORG/NAME/PATH, file:///PATH or a path",
    ),
]
SchemaUri = Annotated[
    str,
    Field(max_length=1024),
    _inside,
    matches(
        rf"^(pvc://{_NAME}/[^/].*|configmap://{_NAME}/[-._a-zA-Z0-9]+|file:///.+|[^:]+)$",
        "not a supported location of a schema; use configmap://NAME/KEY, pvc://CLAIM/PATH, file:///PATH or a path",
    ),
]
ModelUri = Annotated[
    str,
    Field(max_length=1024),
    _inside,
    matches(
        rf"^(hf://[-._a-zA-Z0-9]+/[-._a-zA-Z0-9]+(@[-._/a-zA-Z0-9]+)?|pvc://{_NAME}/[^/].*|file:///.+|[^:]+)$",
        "not a supported location of a model; use hf://ORG/NAME, pvc://CLAIM/PATH, file:///PATH or a path",
    ),
]
Label = Annotated[
    str,
    Field(max_length=100),
    matches(r"^\S([^\n]*\S)?$", "a label must not be empty, contain line breaks, or start or end with whitespace"),
]
Licence = Annotated[str, Field(min_length=1, max_length=200)]
Language = Annotated[
    str,
    Field(max_length=35),
    matches("^[a-z]{2,3}(-[a-zA-Z0-9]{2,8})*$", "not a language code; use for example de, pt-BR or zh-Hans"),
]
Flag = Annotated[bool, Field(strict=True)]
MAX_EPOCHS = 100
"""Of a training."""
Epochs = Annotated[int, Field(strict=True, ge=1, le=MAX_EPOCHS)]
StopSequence = Annotated[str, Field(min_length=1, max_length=100)]
Prompt = Annotated[
    str,
    Field(max_length=20_000),
    matches(r"^(?s:.*)\S(?s:.*)$", "the prompt is empty; write one, or remove the field"),
]
Quantity = Annotated[
    StrictInt | str,
    Rule(
        f"type(self) == int ? int(self) >= 0 : string(self).matches({json.dumps(QUANTITY)})",
        "not a quantity; use for example 500m, 2 or 16Gi",
        _is_quantity,
    ),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "maxLength": 32}),
]


def _checked_schema(schema: JsonSchema) -> JsonSchema:
    """The schema as it was given. Raises PydanticCustomError where it cannot be used."""
    try:
        written_out(schema)
    except InvalidSchema as error:
        raise PydanticCustomError("rule", "{message}", {"message": str(error)}) from None
    return schema


InlineSchema = Annotated[
    dict[str, Any],
    # An object that is kept as it is: the API server knows no schema of JSON schemas.
    AfterValidator(_checked_schema),
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]


class SecretKeyReference(ApiModel):
    """A key of a Secret in the Distillation's namespace."""

    secret_name: ObjectName
    """Name of the Secret."""
    key: SecretKey = "api-key"
    """Key in the Secret. Default: api-key."""

    @property
    def path(self) -> str:
        """SECRET/KEY."""
        return f"{self.secret_name}/{self.key}"


class SecretReference(ApiModel):
    """A Secret in the Distillation's namespace whose keys all become environment variables."""

    secret_name: ObjectName
    """Name of the Secret."""
