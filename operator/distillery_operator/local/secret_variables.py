"""The variables of a Secret in a local run: lines of a file, or variables of the environment that the user names.

No variable of the environment is used without being named, since a manifest says where keys are sent.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from dotenv.parser import parse_stream

_ENVIRONMENT = "env:"


class VariablesError(Exception):
    """The variables cannot be used. The message never contains a value."""


def is_environment(source: Path) -> bool:
    """Whether a source names variables of the environment instead of a file."""
    return str(source).startswith(_ENVIRONMENT)


def read_variables(source: Path, key: str | None = None) -> dict[str, str]:
    """The variables of `source`, by name: a file as `env_lines` reads it; or `env:VARIABLE`, and `env:KEY=VARIABLE`
    where the Secret's key is named otherwise, with commas between several.

    `key` is the one key of the Secret that the manifest names, if there is only one: a single VARIABLE stands for it.
    Raises VariablesError.
    """
    if not is_environment(source):
        return env_lines(source)
    items = [item.partition("=") for item in str(source).removeprefix(_ENVIRONMENT).split(",")]
    given = {name.strip(): _from_environment((variable or name).strip()) for name, _, variable in items}
    if key is not None and len(items) == 1 and not items[0][1]:
        given.setdefault(key, next(iter(given.values())))
    return given


def _from_environment(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value.strip():
        raise VariablesError(f"the environment has no variable {variable or 'of that name'}, or it is empty; export it")
    return value


def env_lines(path: Path) -> dict[str, str]:
    """KEY=VALUE lines as programs write them: with `export`, quotes, escapes in double quotes, and comments. Nothing in
    a value is replaced.

    Raises VariablesError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VariablesError(f"cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and (not binding.key or binding.value is None)):
            raise VariablesError(f"line {_first_line(binding.original.string, binding.original.line)} is not KEY=VALUE")
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    if not variables:
        raise VariablesError("is empty; add KEY=VALUE lines")
    return variables


def _first_line(text: str, number: int) -> int:
    """The number of the first line of a text that is not blank; the text begins on line `number`."""
    return number + len(text) - len(text.lstrip("\r\n")) if text.strip() else number
