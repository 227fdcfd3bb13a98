"""The commands and their options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from distillery_api import __version__
from distillery_api.runtime.resilient_output import accept_every_character
from distillery_api.stage import Stage
from distillery_operator.cli.commands import (
    OutputFormat,
    RunOptions,
    Split,
    estimate_file,
    export_folder,
    plan_file,
    run_file,
    serve_folder,
    validate_files,
)
from distillery_operator.cli.console import errors_as_messages
from distillery_operator.cli.retry_option import FLAG, RunCommand, chosen_reasons
from distillery_operator.cli.row_prompts import prompts_file
from distillery_operator.local.references import LocalSubstitutes

app = typer.Typer(
    name="distillery",
    help="Distil a large language model's skill at one task into a small model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ManifestPath = Annotated[Path, typer.Argument(metavar="FILE", help="Manifest with one Distillation.")]


OutFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run.", show_default="runs/NAME")
]
Claims = Annotated[
    list[str] | None,
    typer.Option("--claim", metavar="NAME=DIR", help="Folder to use for a PersistentVolumeClaim. Can be repeated."),
]
ConfigMaps = Annotated[
    list[str] | None,
    typer.Option("--configmap", metavar="NAME=DIR", help="Folder to use for a ConfigMap. Can be repeated."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="NAME=ENVFILE",
        help="File of KEY=VALUE lines to use for a Secret, or env:VARIABLE of the environment. Can be repeated.",
    ),
]


class RunStage(StrEnum):
    """The stages of a run without a cluster; `distillery serve` verifies."""

    GENERATE = Stage.GENERATE
    TRAIN = Stage.TRAIN
    EVALUATE = Stage.EVALUATE


def main() -> None:
    """The entry point of the program `distillery`."""
    accept_every_character()
    app()


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"distillery {__version__}")
        raise typer.Exit


def _mappings(claim: list[str] | None, configmap: list[str] | None, secret: list[str] | None) -> LocalSubstitutes:
    return LocalSubstitutes(_pairs("--claim", claim), _pairs("--configmap", configmap), _pairs("--secret", secret))


def _pairs(flag: str, values: list[str] | None) -> dict[str, Path]:
    """The `NAME=PATH` values of a repeatable option."""
    pairs: dict[str, Path] = {}
    for value in values or []:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise typer.BadParameter(f"{value!r} is not NAME=PATH", param_hint=flag)
        pairs[name] = Path(path).expanduser()
    return pairs


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command(cls=RunCommand)
def run(  # noqa: PLR0917 - typer takes options from parameters
    file: ManifestPath,
    out: OutFolder = None,
    until: Annotated[RunStage | None, typer.Option(help="Last stage to run.", show_default="the last")] = None,
    claim: Claims = None,
    configmap: ConfigMaps = None,
    secret: Secrets = None,
    retries: Annotated[
        int, typer.Option(min=0, help="Maximum number of retries of a stage after transient failures.")
    ] = 3,
    retry_rejected: Annotated[
        str | None,
        typer.Option(
            FLAG,
            metavar="[REASON]...",
            help="Ask rejected rows again whose reason may pass: these, or all such reasons. Their new replies are"
            " paid for.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask all rows anew, and pay for them, where the teacher's model has changed.")
    ] = False,
) -> None:
    """Run all stages on this machine, without a cluster: generate, train, evaluate, and publish with publication.hub.

    After an interruption, run the same command again: it resumes where it left off. Exit code 4: all stages are done,
    and the student fails evaluation.gate.
    """
    with errors_as_messages():
        last = Stage(until) if until else None
        options = RunOptions(last, retries, chosen_reasons(retry_rejected), yes)
        run_file(file, out, _mappings(claim, configmap, secret), options)


@app.command()
def estimate(  # noqa: PLR0917 - typer takes options from parameters
    file: ManifestPath,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Send 20 rows to the teacher. The run reuses their replies.")
    ] = False,
    output_format: Annotated[OutputFormat, typer.Option("--output", help="Output format.")] = OutputFormat.TABLE,
    out: OutFolder = None,
    claim: Claims = None,
    configmap: ConfigMaps = None,
    secret: Secrets = None,
) -> None:
    """Estimate tokens and cost of the teacher before the first paid request."""
    with errors_as_messages():
        estimate_file(file, out, _mappings(claim, configmap, secret), output_format, pilot=pilot)


@app.command()
def prompts(  # noqa: PLR0917 - typer takes options from parameters
    file: ManifestPath,
    row: Annotated[int, typer.Option(min=1, help="Number of the row in the input, over all sources.")] = 1,
    output_format: Annotated[OutputFormat, typer.Option("--output", help="Output format.")] = OutputFormat.TABLE,
    claim: Claims = None,
    configmap: ConfigMaps = None,
    secret: Secrets = None,
) -> None:
    """Show what teacher and student get for a row. Sends no request."""
    with errors_as_messages():
        prompts_file(file, row, _mappings(claim, configmap, secret), output_format)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or of its generate stage.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="File to write, or - for standard output.")],
    split: Annotated[Split, typer.Option(help="Split to export.")] = Split.TRAIN,
) -> None:
    """Export the kept rows as plain chat rows for other trainers."""
    with errors_as_messages():
        export_folder(folder, split, output)


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, such as runs/NAME.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen on.")] = 8000,
    force: Annotated[bool, typer.Option("--force", help="Serve a student that failed its quality gate, too.")] = False,
) -> None:
    """Serve the student of a run with an OpenAI-compatible API."""
    with errors_as_messages():
        serve_folder(folder, host, port, force=force)


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Manifests to validate.")],
) -> None:
    """Validate manifests as the API server would, without a cluster."""
    validate_files(files)


@app.command()
def plan(  # noqa: PLR0917 - typer takes options from parameters
    file: ManifestPath,
    manifests: Annotated[bool, typer.Option("--manifests", help="Print the Kubernetes manifests as YAML.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder of a local run: show what is done there, what runs, and why."
        ),
    ] = None,
    claim: Claims = None,
    configmap: ConfigMaps = None,
    secret: Secrets = None,
) -> None:
    """Show stages, names and manifests without running anything."""
    with errors_as_messages():
        plan_file(file, out, _mappings(claim, configmap, secret), manifests)
