"""What a local run would do, as a table, and what it would cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.table import Table

from distillery_api.stage import Stage
from distillery_api.training_memory import TrainingMemory
from distillery_operator.cli.console import output, print_error
from distillery_operator.cli.layout import say, show_table
from distillery_operator.local.estimate import EstimateRun
from distillery_operator.local.local_plan import local_plan
from distillery_operator.local.outlook import OutlookState, StageOutlook, outlook
from distillery_operator.local.references import LocalSubstitutes, find_inputs
from distillery_operator.local.trainer import TrainerMissing
from distillery_operator.local.trainer_query import QueryFailed
from distillery_operator.local.training_memory import memory_here
from distillery_operator.manifest_input.manifest_file import Manifest


def show_outlook(manifest: Manifest, folder: Path, mappings: LocalSubstitutes) -> None:
    """Print what a run in the folder would do. Raises InputsError where rows or a model are not on this machine."""
    inputs = find_inputs(manifest, mappings, keys=False)
    plan = local_plan(manifest.distillation, inputs.fingerprints)
    stages = outlook(plan, inputs, folder)
    console = output()
    show_table(console, outlook_table(f"Stages of {plan.name} in {folder}", stages))
    if not any(each.stage is Stage.GENERATE and each.state is OutlookState.WILL_RUN for each in stages):
        return
    try:
        estimate = EstimateRun(plan, inputs, folder, pilot=False).run()
    except (QueryFailed, TrainerMissing) as error:
        print_error(f"No estimate: {error}")
        return
    say(console, f"generate: estimate: {estimate.sentence()}")
    show_memory(lambda: memory_here(plan, inputs))


def show_memory(estimate: Callable[[], TrainingMemory]) -> None:
    """Print the memory that the training will take, or why it cannot start, or why there is no estimate."""
    try:
        say(output(), f"train: estimated memory: {estimate().sentence()}")
    except (QueryFailed, TrainerMissing) as error:
        print_error(f"train: memory: {error}")


def outlook_table(title: str, stages: list[StageOutlook]) -> Table:
    """One line for each stage."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("Stage", no_wrap=True)
    table.add_column("Folder", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Why")
    for each in stages:
        table.add_row(each.stage, each.folder, each.state, each.why)
    return table
