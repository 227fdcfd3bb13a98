"""`distillery prompts`: what teacher and student really get for a row."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from distillery_api.row_messages import ChatMessages, RowMessages
from distillery_operator.cli.commands import OutputFormat
from distillery_operator.cli.console import output, print_error
from distillery_operator.local.references import LocalSubstitutes, find_inputs
from distillery_operator.local.trainer import require_trainer
from distillery_operator.local.trainer_query import QueryFailed, ask_trainer
from distillery_operator.manifest_input.manifest_file import read_manifest
from distillery_operator.planning.plan import make_plan


def prompts_file(file: Path, row: int, mappings: LocalSubstitutes, output_format: OutputFormat) -> None:
    """`distillery prompts`. Raises typer.Exit with the trainer's exit code if there is nothing to print."""
    manifest = read_manifest(file)
    inputs = find_inputs(manifest, mappings, keys=False)
    plan = make_plan(manifest.distillation, inputs.fingerprints)
    require_trainer()
    try:
        with tempfile.TemporaryDirectory() as drafts:
            found = ask_trainer(["prompts", "--row", str(row)], plan, inputs, Path(drafts))
    except QueryFailed as error:
        print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    messages = RowMessages.model_validate_json(found)
    if output_format is OutputFormat.JSON:
        typer.echo(messages.model_dump_json(by_alias=True, indent=2))
        return
    _show(output(), messages)


def _show(console: Console, messages: RowMessages) -> None:
    console.print(f"Row {messages.row:,} of {messages.rows:,}: {messages.id} ({messages.split})", markup=False)
    for title, lines in (
        (_teacher_title(messages.samples), [*_texts(messages.teacher), *_parameters(messages)]),
        ("The student gets", _texts(messages.student)),
        ("The student learns the teacher's reasoning under", _texts(messages.rationale)),
        ("Note", list(messages.notes)),
    ):
        if lines:
            console.print()
            console.print(Text(title, style="bold"))
        for line in lines:
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def _teacher_title(samples: int) -> str:
    return "The teacher gets" if samples == 1 else f"The teacher gets, {samples} times"


def _texts(messages: ChatMessages) -> list[str]:
    """Each message below its role; what a message has beside its text follows as JSON."""
    return [text for message in messages for text in _of_message(message)]


def _of_message(message: dict[str, object]) -> Iterator[str]:
    more = {key: value for key, value in message.items() if key not in ("role", "content")}
    yield f"[{message['role']}]"
    if message.get("content") is not None:
        yield str(message["content"])
    if more:
        yield json.dumps(more, ensure_ascii=False)


def _parameters(messages: RowMessages) -> list[str]:
    return ["[parameters]", json.dumps(messages.parameters, ensure_ascii=False)] if messages.parameters else []
