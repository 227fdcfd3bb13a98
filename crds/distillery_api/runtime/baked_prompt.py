"""The student prompt inside a chat template, so that clients send their input only.

The Transformers server imports this module; in vLLM's image it runs as a program, which writes the template and becomes
vLLM. Standard library only, since that image has none of ours.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

PROMPT_LIMIT = 1024 * 1024
"""Bytes."""
_USER_ERROR = 2


class NoTemplate(Exception):
    """The template or the prompt cannot be read. The message says which file, and why."""


def baked_template(template: str, prompt: str) -> str:
    """`template`, with `prompt` as the system message of a conversation that has none."""
    if not prompt.strip():
        return template
    # A string of JSON is one of Jinja. Without a line break after the statements, nothing is rendered for them.
    message = "{'role': 'system', 'content': " + json.dumps(prompt, ensure_ascii=False) + "}"
    return (
        "{%- if not messages or messages[0]['role'] != 'system' %}"
        "{%- set messages = [" + message + "] + (messages or []) %}"
        "{%- endif %}" + template
    )


def read_prompt(path: Path) -> str:
    """The prompt in a file, as it was trained with. Raises NoTemplate."""
    try:
        with path.open("rb") as file:
            return file.read(PROMPT_LIMIT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise NoTemplate(f"the student prompt cannot be read: {error}") from error


def read_template(model: Path) -> str:
    """The chat template of a model's folder. Raises NoTemplate."""
    try:
        own = model / "chat_template.jinja"
        if own.exists():
            return own.read_text(encoding="utf-8")
        template = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NoTemplate(f"the student's chat template cannot be read: {error}") from error
    if not isinstance(template, str):
        raise NoTemplate(f"{model} has several chat templates, or none")
    return template


def main(arguments: Sequence[str]) -> None:
    """`MODEL PROMPT TEMPLATE PROGRAM …`: write the file TEMPLATE, and become the program."""
    model, prompt, template, *program = arguments
    try:
        baked = baked_template(read_template(Path(model)), read_prompt(Path(prompt)))
    except NoTemplate as error:
        sys.stderr.write(f"serving.bakePrompt: {error}\n")
        sys.exit(_USER_ERROR)
    Path(template).write_text(baked, encoding="utf-8")
    os.execvp(program[0], program)  # noqa: S606 - the rest of our own command


if __name__ == "__main__":
    main(sys.argv[1:])
