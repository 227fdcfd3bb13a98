"""Which of vLLM's parsers reads the calls of a student: its chat template tells, since it shows how calls are written.

In vLLM's image this module runs as a program, which finds the parser and becomes vLLM. Standard library only, since
that image has none of ours.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

FLAGS = ("--enable-auto-tool-choice", "--tool-call-parser")
"""Options of vLLM: calls are read, and by which parser."""
_PARSERS = (
    # The form of student.toolFormat Hermes comes first: that of the family stands in its template as well.
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|tool_call|>", "granite"),
    ("<|python_tag|>", "llama3_json"),
    ('"parameters": ', "llama3_json"),
)
_USER_ERROR = 2


def parser_of(template: str) -> str | None:
    """The name of the parser for a chat template; None where none is known."""
    return next((parser for mark, parser in _PARSERS if mark in template), None)


def _template(model: Path) -> str:
    own = model / "chat_template.jinja"
    if own.exists():
        return own.read_text(encoding="utf-8")
    return str(json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"])


def main(arguments: Sequence[str]) -> None:
    """`MODEL PROGRAM …`: become the program, with vLLM's options for the calls of the model in the folder."""
    model, *program = arguments
    try:
        parser = parser_of(_template(Path(model)))
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.stderr.write(f"the student's chat template cannot be read: {error}\n")
        sys.exit(_USER_ERROR)
    if parser is None:
        sys.stderr.write(
            "No parser is known for the calls that the student's chat template writes; name one of vLLM's in"
            " serving.runtimeArgs (--tool-call-parser).\n"
        )
        sys.exit(_USER_ERROR)
    enable, name = FLAGS
    os.execvp(program[0], [*program, enable, name, parser])  # noqa: S606 - the rest of our own command


if __name__ == "__main__":
    main(sys.argv[1:])
