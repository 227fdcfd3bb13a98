"""What each command does, between its options and its output."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RetryRejected
from distillery_api.runtime.stop_signals import TERMINAL_STOP_SIGNALS, StopRequest, stop_on_signals
from distillery_api.stage import ExitCode, Stage
from distillery_operator.cli.console import output, print_error
from distillery_operator.cli.estimate_table import estimate_notes, estimate_table
from distillery_operator.cli.layout import say, show_table
from distillery_operator.cli.outlook_table import show_memory, show_outlook
from distillery_operator.cli.paid_again import confirm_other_model
from distillery_operator.cli.progress_display import run_display
from distillery_operator.cli.result_table import show_result
from distillery_operator.local.estimate import EstimateRun
from distillery_operator.local.example_message import example_message
from distillery_operator.local.export import STANDARD_OUTPUT, ExportError, export_rows
from distillery_operator.local.local_plan import local_plan, stages_to_run
from distillery_operator.local.references import InputsError, LocalSubstitutes, find_inputs
from distillery_operator.local.run import RETRY_SECONDS, LocalRun, RunOutcome, record_failure
from distillery_operator.local.run_result import RunResult, RunState
from distillery_operator.local.student_server import StudentServer, refuse_below_gate, student_server
from distillery_operator.local.student_verification import verify_student
from distillery_operator.local.trainer import TrainerMissing
from distillery_operator.local.trainer_query import QueryFailed
from distillery_operator.local.training_memory import memory_in_cluster
from distillery_operator.local.workspace import WorkspaceError
from distillery_operator.manifest_input.manifest_file import Manifest, ManifestError, read_manifest, read_manifests
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan, make_plan

RUNS_FOLDER = Path("runs")
EXAMPLE_USER_MESSAGE = "…"


@dataclass(frozen=True)
class RunOptions:
    """How a run is to go."""

    until: Stage | None = None
    """The last stage to run; None for all."""
    retries: int = 3
    """Retries of a stage after transient failures."""
    retry_reasons: tuple[RejectionReason, ...] | None = None
    """Rejected rows with one of these reasons are asked again, with none given all whose reason may pass; None for no
    such rows."""

    yes: bool = False
    """Whether to pay for rows again without a question."""

    @property
    def retry_seconds(self) -> tuple[float, ...]:
        """The delays before the retries."""
        return (*RETRY_SECONDS, *[RETRY_SECONDS[-1]] * self.retries)[: self.retries]

    def retry_rejected(self) -> RetryRejected | None:
        """A new request to ask rejected rows again."""
        if self.retry_reasons is None:
            return None
        return RetryRejected(request=datetime.now(UTC).isoformat(), reasons=self.retry_reasons)


def run_file(file: Path, out: Path | None, mappings: LocalSubstitutes, options: RunOptions) -> None:
    """`distillery run`. Raises typer.Exit with the run's exit code if the run is not done."""
    manifest = read_manifest(file)
    name = manifest.distillation.metadata.name
    folder = out or RUNS_FOLDER / name
    try:
        outcome = _run(manifest, folder, mappings, options)
    except (InputsError, TrainerMissing) as error:
        reason = error.reason if isinstance(error, InputsError) else Reason.CONFIGURATION_MISSING
        _record_failure(folder, name, reason, str(error))
        raise
    if outcome.idle and options.retry_reasons is not None:
        say(output(), "No row was rejected for a reason that is to be tried again.")
    _report(outcome, folder)
    _note_image(manifest)


def _note_image(manifest: Manifest) -> None:
    image = manifest.distillation.spec.serving.model_image
    if image:
        note = (
            "A local run pushes no image, as its server takes the student from the folder: in a cluster, publish pushes"
            f" it to {image.repository}."
        )
        say(output(), note)


def _run(manifest: Manifest, folder: Path, mappings: LocalSubstitutes, options: RunOptions) -> RunOutcome:
    inputs = find_inputs(manifest, mappings)
    plan = local_plan(manifest.distillation, inputs.fingerprints)
    confirm_other_model(plan, inputs, folder, yes=options.yes)
    until, retry = options.until, options.retry_rejected()
    stages = stages_to_run(plan, until)
    with stop_on_signals(TERMINAL_STOP_SIGNALS) as stop, run_display(output(), stages) as listener:
        return LocalRun(plan, inputs, folder, listener, stop, until, options.retry_seconds, retry).run()


def _record_failure(folder: Path, name: str, reason: Reason, message: str) -> None:
    """Write the failure to result.json as well. The message on the terminal matters more, so an error here is only
    printed."""
    try:
        record_failure(folder, name, reason, message)
    except (WorkspaceError, OSError) as error:
        print_error(f"The result could not be written either: {error}")


def _report(outcome: RunOutcome, folder: Path) -> None:
    console, result = output(), outcome.result
    if result.state is RunState.DONE:
        show_result(console, result, folder)
        _print_next_step(console, outcome, folder)
        return
    if result.reason is Reason.QUALITY_GATE_FAILED:
        show_result(console, result, folder)
        print_error(_gate_advice(result))
    elif result.state is RunState.INTERRUPTED:
        same_command = shlex.join(["distillery", *sys.argv[1:]])
        print_error(f"Stopped. All finished work is saved. To resume, run: {same_command}")
    else:
        print_error(result.message)
        for line in _failure_advice(result, folder):
            print_error(line)
    raise typer.Exit(outcome.exit_code)


def _gate_advice(result: RunResult) -> str:
    return (
        f"{result.message}. After changing a bound of evaluation.gate, or what the student learns from, run the same"
        " command again; a changed bound repeats no stage."
    )


def _failure_advice(result: RunResult, folder: Path) -> list[str]:
    """Where to find rejected rows, and how to resume."""
    rejected = result.files.get(Artefact.REJECTED) if result.rows.rejected else None
    kept = "All paid replies are kept. " if result.usage.requests else ""
    return [
        *([f"Rejected rows with their reasons: {folder / rejected}"] if rejected else []),
        f"{kept}After fixing this, run the same command again.",
    ]


def _print_next_step(console: Console, outcome: RunOutcome, folder: Path) -> None:
    if outcome.idle:
        say(console, f"Nothing left to do: {outcome.result.message}.")
    if Artefact.MODEL in outcome.result.files:
        say(console, f"Serve the student: distillery serve {shlex.quote(str(folder))}")


class OutputFormat(StrEnum):
    """Output formats of an estimate."""

    TABLE = "table"
    JSON = "json"


def estimate_file(
    file: Path, out: Path | None, mappings: LocalSubstitutes, output_format: OutputFormat, *, pilot: bool
) -> None:
    """`distillery estimate`. Raises typer.Exit with the trainer's exit code if there is no estimate."""
    manifest = read_manifest(file)
    inputs = find_inputs(manifest, mappings, keys=pilot)
    plan = make_plan(manifest.distillation, inputs.fingerprints)
    try:
        estimate = EstimateRun(plan, inputs, out or RUNS_FOLDER / plan.name, pilot).run()
    except QueryFailed as error:
        print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    if output_format is OutputFormat.JSON:
        typer.echo(estimate.model_dump_json(by_alias=True, indent=2))
        return
    console = output()
    generation = plan.spec.generation
    show_table(console, estimate_table(plan.name, estimate, judged=generation.judge is not None))
    for line in estimate_notes(estimate, generation.budget):
        say(console, line)


class Split(StrEnum):
    """The splits that are used for training."""

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
        say(output(), f"Wrote {count:,} chat rows to {target}.")


def serve_folder(folder: Path, host: str, port: int, *, force: bool) -> None:
    """`distillery serve`."""
    server = student_server(folder, host, port)
    if not force:
        refuse_below_gate(server.result, folder)
    console = output()
    say(console, f"Loading {server.model} …")
    with stop_on_signals(TERMINAL_STOP_SIGNALS) as stop:
        server.run(stop, lambda: _announce(console, server, stop))


def _announce(console: Console, server: StudentServer, stop: StopRequest) -> None:
    """A student is offered only once it has answered as in its evaluation."""
    for text in (verify_student(server, server.result, stop), _example_request(server)):
        if not stop.requested:
            say(console, text)


def _example_request(server: StudentServer) -> str:
    messages = [{"role": "user", "content": example_message(server.folder, server.result)}]
    if server.prompt:
        messages.insert(0, {"role": "system", "content": server.prompt})
    body = json.dumps({"model": server.name, "messages": messages}, ensure_ascii=False)
    return (
        f"Serving {server.name} at {server.url}/v1 (press Ctrl-C to stop). Example request with the student prompt:\n"
        f"  curl {server.url}/v1/chat/completions -H 'content-type: application/json' -d {shlex.quote(body)}"
    )


def validate_files(files: list[Path]) -> None:
    """`distillery validate`: print the problems of all files; of rules between the fields of one object, the first.

    Raises typer.Exit with code 2 if there are any.
    """
    console, is_valid = output(), True
    for file in files:
        try:
            for manifest in read_manifests(file):
                say(console, f"{file}: {manifest.distillation.metadata.name} is valid")
        except ManifestError as error:
            is_valid = False
            for problem in error.problems:
                print_error(problem)
    if not is_valid:
        raise typer.Exit(ExitCode.USER_ERROR)


def plan_file(file: Path, out: Path | None, mappings: LocalSubstitutes, manifests: bool) -> None:
    """`distillery plan`: with a folder, what a local run in it would do; else what there is in a cluster."""
    if out is not None:
        show_outlook(read_manifest(file), out, mappings)
        return
    # Only here: the other commands need no manifests.
    from distillery_operator.manifests.job import planned_training_machine
    from distillery_operator.manifests.method_needs import lacking_for_method
    from distillery_operator.manifests.preview import preview_plan

    plan = preview_plan(read_manifest(file).distillation)
    if manifests:
        typer.echo(_manifests_text(plan), nl=False)
        return
    console = output()
    show_table(console, _stage_table(plan))
    say(console, _children_text(plan))
    if lacking := lacking_for_method(plan.spec.training.method, plan.options(Stage.TRAIN)):
        print_error(f"In a cluster, this will not start: {lacking}")
        return
    if idle := plan.spec.training.idle_gpus:
        say(console, f"train: {idle}")
    show_memory(lambda: memory_in_cluster(plan, planned_training_machine(plan), file.resolve().parent, mappings))


def _stage_table(plan: Plan) -> Table:
    table = Table(
        title=f"Stages of {plan.name} in a cluster",
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
        f"Serving: Deployment and Service {names.serving_name(plan.name)}, with {plan.spec.serving.runtime}."
        if plan.served
        else "Serving: none (serving.mode is None)."
    )
    claim = f"Workspace: PersistentVolumeClaim {plan.claim_name}"
    uid = "" if plan.spec.storage.claim_name else ", followed by the first characters of the resource's UID"
    local = (
        "In a local run, the folder names also depend on the content of local files: distillery plan FILE --out DIR"
        " shows them, and what is done."
    )
    if plan.served:
        local += " The folder of verify also depends on the images of the installation."
    return f"{claim}{uid}.\n{served}\n{local}"


def _manifests_text(plan: Plan) -> str:
    from distillery_operator.manifests.preview import preview  # only here: the other commands need no manifests

    plain = json.loads(json.dumps(preview(plan)))
    return yaml.dump_all(plain, Dumper=_ReadableDumper, sort_keys=False, allow_unicode=True)


class _ReadableDumper(yaml.SafeDumper):
    """Writes multi-line strings as blocks, not as one line with escapes."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_ReadableDumper.add_representer(str, _text_node)
