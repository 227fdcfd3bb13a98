"""Where the JSON schema of a run's answers comes from: the manifest, or a file that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distillery_api.answer_schema import MOST_CHARACTERS, InvalidSchema, JsonSchema, written_out
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_trainer.data.locations import resolve
from distillery_trainer.runtime.errors import UserError

_MOST_BYTES = 8 * MOST_CHARACTERS
"""Of a file with white space and escapes."""


def answer_schema(config: RunConfig) -> JsonSchema:
    """The schema of the answers, references written out. Raises UserError.

    A file that the manifest names is read by generate, which keeps the schema for the later stages: what its rows were
    checked against is what the student is measured against.
    """
    if config.generation.answer_schema is not None:
        return written_out(config.generation.answer_schema)
    if config.stage is not Stage.GENERATE:
        return dict(json.loads(config.input_folder(Stage.GENERATE).answer_schema.read_bytes()))
    uri = str(config.generation.schema_uri)
    path = Path(resolve(uri, config, "generation.schemaUri"))
    try:
        return written_out(_content(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"generation.schemaUri: {uri}: {_problem(path, error)}.", reason=Reason.INVALID_DATA) from error


def _content(path: Path) -> Any:
    with path.open("rb") as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InvalidSchema(f"the file is larger than {_MOST_BYTES:,} bytes; shorten its descriptions")
    return json.loads(content.decode("utf-8-sig"))


def _problem(path: Path, error: Exception) -> str:
    """What is wrong with the file, as the end of a sentence."""
    if isinstance(error, InvalidSchema):
        return str(error)
    if isinstance(error, OSError):
        return f"the file cannot be read ({error.strerror}, path {path})"
    if isinstance(error, json.JSONDecodeError):
        return f"the file is not JSON (line {error.lineno}: {error.msg})"
    return "the file is not JSON: " + ("it is not UTF-8 text" if isinstance(error, ValueError) else "it is too deep")
