"""The commands and their flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distillery_api import __version__
from distillery_api.stage import Stage
from distillery_operator.cli.commands import (
    EstimateForm,
    Split,
    estimate_file,
    export_folder,
    plan_file,
    run_file,
    serve_folder,
    validate_files,
)
from distillery_operator.cli.console import errors_as_messages
from distillery_operator.local.references import Mappings

app = typer.Typer(
    name="distillery",
    help="Turns a large language model's skill at one task into a small model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ManifestPath = Annotated[Path, typer.Argument(metavar="FILE", help="A manifest that holds one Distillation.")]


OutFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The run's folder.", show_default="runs/NAME")
]
Claims = Annotated[
    list[str] | None,
    typer.Option("--claim", metavar="NAME=DIR", help="The folder that stands for a PersistentVolumeClaim."),
]
ConfigMaps = Annotated[
    list[str] | None, typer.Option("--configmap", metavar="NAME=DIR", help="The folder that stands for a ConfigMap.")
]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME=ENVFILE", help="The file of KEY=VALUE lines that stands for a Secret."),
]


def main() -> None:
    """The entry point of the program `distillery`."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distillery {__version__}")
        raise typer.Exit


def _mappings(claim: list[str] | None, configmap: list[str] | None, secret: list[str] | None) -> Mappings:
    return Mappings(_pairs("--claim", claim), _pairs("--configmap", configmap), _pairs("--secret", secret))


def _pairs(flag: str, values: list[str] | None) -> dict[str, Path]:
    """`NAME=PATH` arguments of a flag that may be given several times."""
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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def run(  # noqa: PLR0917 - typer takes options from parameters
    file: ManifestPath,
    out: OutFolder = None,
    until: Annotated[Stage | None, typer.Option(help="The last stage to run.", show_default="evaluate")] = None,
    claim: Claims = None,
    configmap: ConfigMaps = None,
    secret: Secrets = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a stage is started again that may succeed later.")] = 3,
) -> None:
    """Distil on this machine: teacher, training and scores, without a cluster.

    Run the same command again after an interruption: it goes on where it stood.
    """
    with errors_as_messages():
        run_file(file, out, until, _mappings(claim, configmap, secret), retries)


@app.command()
def estimate(  # noqa: PLR0917 - typer takes options from parameters
    file: ManifestPath,
    pilot: Annotated[bool, typer.Option("--pilot", help="Ask 20 rows for real; the run finds their replies.")] = False,
    form: Annotated[EstimateForm, typer.Option("--output", help="How to show it.")] = EstimateForm.TABLE,
    out: OutFolder = None,
    claim: Claims = None,
    configmap: ConfigMaps = None,
    secret: Secrets = None,
) -> None:
    """Say what the teacher will cost, in tokens and money, before anything is paid for."""
    with errors_as_messages():
        estimate_file(file, out, _mappings(claim, configmap, secret), form, pilot=pilot)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run, or of its generate stage.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, or - for standard output.")],
    split: Annotated[Split, typer.Option(help="Which rows.")] = Split.TRAIN,
) -> None:
    """Write kept rows as plain chat rows, which other trainers take."""
    with errors_as_messages():
        export_folder(folder, split, output)


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run, such as runs/NAME.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen on.")] = 8000,
) -> None:
    """Serve the student of a run with an OpenAI-compatible API."""
    with errors_as_messages():
        serve_folder(folder, host, port)


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Manifests to check.")],
) -> None:
    """Check manifests as the API server would, without a cluster."""
    validate_files(files)


@app.command()
def plan(
    file: ManifestPath,
    manifests: Annotated[
        bool, typer.Option("--manifests", help="Print what a cluster would be given, as YAML.")
    ] = False,
) -> None:
    """Show stages, names and manifests without doing anything."""
    with errors_as_messages():
        plan_file(file, manifests)
