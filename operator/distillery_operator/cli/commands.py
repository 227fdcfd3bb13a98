"""What each command does, between its flags and its output."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.stage import ExitCode, Stage, stages_until
from distillery_operator.cli.console import output, print_error
from distillery_operator.cli.estimate_table import estimate_notes, estimate_table
from distillery_operator.cli.progress_display import displayed
from distillery_operator.cli.result_table import show_result
from distillery_operator.local.estimate import EstimateError, EstimateRun
from distillery_operator.local.export import STANDARD_OUTPUT, ExportError, export_rows
from distillery_operator.local.references import InputsError, Mappings, find_inputs
from distillery_operator.local.run import RETRY_SECONDS, LocalRun, Outcome, record_failure
from distillery_operator.local.run_result import RunResult, RunState
from distillery_operator.local.stop_request import stop_on_signals
from distillery_operator.local.student_server import StudentServer, student_server
from distillery_operator.local.trainer import TrainerMissing
from distillery_operator.local.workspace import WorkspaceError
from distillery_operator.manifest_input.manifest_file import Manifest, ManifestError, read_manifest, read_manifests
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan, make_plan

RUNS_FOLDER = Path("runs")
EXAMPLE_QUESTION = "Premise: …\\nHypothesis: …"


def run_file(file: Path, out: Path | None, until: Stage | None, mappings: Mappings, retries: int) -> None:
    """`distillery run`. Raises typer.Exit with the run's exit code where it is not done."""
    manifest = read_manifest(file)
    name = manifest.distillation.metadata.name
    folder = out or RUNS_FOLDER / name
    try:
        outcome = _run(manifest, folder, until, mappings, retries)
    except (InputsError, TrainerMissing) as error:
        reason = error.reason if isinstance(error, InputsError) else Reason.CONFIGURATION_MISSING
        _record_failure(folder, name, reason, str(error))
        raise
    _conclude(outcome, folder)


def _run(manifest: Manifest, folder: Path, until: Stage | None, mappings: Mappings, retries: int) -> Outcome:
    inputs = find_inputs(manifest, mappings)
    plan = make_plan(manifest.distillation, inputs.fingerprints)
    shown = stages_until(until)
    with stop_on_signals() as stop, displayed(output(), shown) as watcher:
        waits = (*RETRY_SECONDS, *[RETRY_SECONDS[-1]] * retries)[:retries]
        return LocalRun(plan, inputs, folder, watcher, stop, until, waits).run()


def _record_failure(folder: Path, name: str, reason: Reason, message: str) -> None:
    """The sentence on the terminal counts more than its copy, so a folder that cannot be written changes nothing."""
    try:
        record_failure(folder, name, reason, message)
    except (WorkspaceError, OSError) as error:
        print_error(f"and the result could not be written: {error}")


def _conclude(outcome: Outcome, folder: Path) -> None:
    console, result = output(), outcome.result
    if result.state is RunState.DONE:
        show_result(console, result, folder)
        _say_next(console, outcome, folder)
        return
    if result.state is RunState.INTERRUPTED:
        again = shlex.join(["distillery", *sys.argv[1:]])
        print_error(f"Stopped. Nothing is lost: it goes on where it stood with: {again}")
    else:
        print_error(result.message)
        for line in _failure_notes(result, folder):
            print_error(line)
    raise typer.Exit(outcome.exit_code)


def _failure_notes(result: RunResult, folder: Path) -> list[str]:
    """Where a user finds what there is, and how to go on."""
    rejected = result.files.get(Artefact.REJECTED) if result.rows.rejected else None
    kept = "Everything that was paid for is kept. " if result.usage.requests else ""
    return [
        *([f"Rejected rows, each with its reason: {folder / rejected}"] if rejected else []),
        f"{kept}Once this is mended, run the same command again.",
    ]


def _say_next(console: Console, outcome: Outcome, folder: Path) -> None:
    if outcome.idle:
        console.print(f"Nothing is left to do: {outcome.result.message}.", markup=False)
    if Artefact.MODEL in outcome.result.files:
        console.print(f"Serve the student: distillery serve {shlex.quote(str(folder))}", soft_wrap=True, markup=False)


class EstimateForm(StrEnum):
    """How an estimate is shown."""

    TABLE = "table"
    JSON = "json"


def estimate_file(file: Path, out: Path | None, mappings: Mappings, form: EstimateForm, *, pilot: bool) -> None:
    """`distillery estimate`. Raises typer.Exit with the trainer's exit code where there is no estimate."""
    manifest = read_manifest(file)
    inputs = find_inputs(manifest, mappings, keys=pilot)
    plan = make_plan(manifest.distillation, inputs.fingerprints)
    try:
        estimate = EstimateRun(plan, inputs, out or RUNS_FOLDER / plan.name, pilot).run()
    except EstimateError as error:
        print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    if form is EstimateForm.JSON:
        typer.echo(estimate.model_dump_json(by_alias=True, indent=2))
        return
    console = output()
    generation = plan.spec.generation
    console.print(estimate_table(plan.name, estimate, judged=generation.judge is not None))
    for note in estimate_notes(estimate, generation.budget):
        console.print(note, soft_wrap=True, markup=False)


class Split(StrEnum):
    """The splits that a student learns from."""

    TRAIN = "train"
    VALIDATION = "validation"


def export_folder(folder: Path, split: Split, target: Path) -> None:
    """`distillery export`."""
    try:
        count = export_rows(folder, split, target)
    except ExportError as error:
        print_error(str(error))
        raise typer.Exit(ExitCode.USER_ERROR) from None
    if target != STANDARD_OUTPUT:
        output().print(f"{count:,} chat rows are in {target}.", soft_wrap=True, markup=False)


def serve_folder(folder: Path, host: str, port: int) -> None:
    """`distillery serve`."""
    server = student_server(folder, host, port)
    console = output()
    console.print(f"Loading {server.model} …", soft_wrap=True, markup=False)
    with stop_on_signals() as stop:
        server.run(stop, lambda: console.print(_how_to_ask(server), soft_wrap=True, markup=False))


def _how_to_ask(server: StudentServer) -> str:
    messages = [{"role": "user", "content": EXAMPLE_QUESTION}]
    if server.prompt:
        messages.insert(0, {"role": "system", "content": server.prompt})
    body = json.dumps({"model": server.name, "messages": messages}, ensure_ascii=False)
    return (
        f"{server.name} answers at {server.url}/v1 (Ctrl-C ends it). Ask it with the prompt that it was trained on:\n"
        f"  curl {server.url}/v1/chat/completions -H 'content-type: application/json' -d {shlex.quote(body)}"
    )


def validate_files(files: list[Path]) -> None:
    """`distillery validate`: all faults of all files, and exit code 2 where there are any."""
    console, faulty = output(), False
    for file in files:
        try:
            for manifest in read_manifests(file):
                console.print(f"{file}: {manifest.distillation.metadata.name} is valid", soft_wrap=True, markup=False)
        except ManifestError as error:
            faulty = True
            for problem in error.problems:
                print_error(problem)
    if faulty:
        raise typer.Exit(ExitCode.USER_ERROR)


def plan_file(file: Path, manifests: bool) -> None:
    """`distillery plan`."""
    plan = make_plan(read_manifest(file).distillation)
    if manifests:
        typer.echo(_manifests_text(plan), nl=False)
        return
    console = output()
    console.print(_stage_table(plan))
    console.print(_children_text(plan), soft_wrap=True, markup=False)


def _stage_table(plan: Plan) -> Table:
    table = Table(
        title=f"Stages of {plan.name}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in ("Stage", "Folder", "First Job"):
        table.add_column(heading)
    for planned in plan.stages:
        table.add_row(planned.stage, planned.folder, names.job_name(plan.name, planned.folder, 1))
    return table


def _children_text(plan: Plan) -> str:
    served = (
        f"Deployment and Service {names.serving_name(plan.name)} serve the student with {plan.spec.serving.runtime}."
        if plan.served
        else "The student is not served (serving.mode is None)."
    )
    claim = f"The workspace is the PersistentVolumeClaim {plan.claim_name}"
    uid = "" if plan.spec.storage.claim_name else ", with the start of the resource's UID at its end"
    local = "A local run takes the content of local files into its folders' names as well."
    return f"{claim}{uid}.\n{served}\n{local}"


def _manifests_text(plan: Plan) -> str:
    from distillery_operator.manifests.preview import preview  # only here: the other commands need no manifest

    plain = json.loads(json.dumps(preview(plan)))
    return yaml.dump_all(plain, Dumper=_ReadableDumper, sort_keys=False, allow_unicode=True)


class _ReadableDumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, not as one line with escapes."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_ReadableDumper.add_representer(str, _text_node)
