"""A changed field of the spec, whatever runs meanwhile: what becomes obsolete stops and runs again, and nothing else
does.

`tests/data/input/changes.yaml` says for each field which stage is the first to run again.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_api.base import ApiModel, OpenModel
from distillery_api.spec import (
    CanaryStep,
    DistillationSpec,
    PodTemplate,
    Resources,
    Route,
    SecretKeyReference,
    SecretReference,
)
from distillery_api.stage import Stage
from distillery_operator.core.situation import plan_for
from distillery_operator.planning.plan import Plan
from simulated_cluster import RUN_STAGES, distillation, ended, spec
from simulated_life import IDLE, MOMENTS, ROLLOUT, SimulatedLife
from spec_fields import SPECS, FieldPath, another, given_value, models_in, with_value

TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "data/input/changes.yaml").read_text())
NOTHING, PAUSE, NO_SERVER = "nothing", "pause", "no server"
_WHOLE = (Resources, PodTemplate, Route, SecretReference, SecretKeyReference, CanaryStep, OpenModel)
"""Models whose fields all do the same."""


def fields(model: type[ApiModel], path: FieldPath = ()) -> Iterator[FieldPath]:
    """Every field of the spec, down to those that hold no model."""
    for name, field in model.model_fields.items():
        inner = [each for each in models_in(field.annotation) if not issubclass(each, _WHOLE)]
        for each in inner:
            yield from fields(each, (*path, name))
        if not inner:
            yield (*path, name)


FIXED = "fixed"
FIELDS = {".".join(path): path for path in fields(DistillationSpec)}


class ChangingLife(SimulatedLife):
    """A life whose spec is a model, so that a field may have a value that does not suit the others."""

    model: DistillationSpec

    @property
    def plan(self) -> Plan:
        """The plan of the present spec."""
        present = distillation(generation=self.generation, annotations=self.annotations)
        return plan_for(present.model_copy(update={"spec": self.model}), self.settings, self.status)

    def becomes(self, model: DistillationSpec) -> None:
        """Edits the spec."""
        self.model = model
        self.generation += 1


@cache
def _at(moment: str, base: str) -> ChangingLife:
    cluster = ChangingLife()
    small = SMALL_SPECS.get(base)
    cluster.model = DistillationSpec.model_validate(small) if small else served(SPECS[base])
    cluster.reach(moment)
    return cluster


def at(moment: str, base: str) -> ChangingLife:
    """A cluster at that moment, to be changed."""
    return copy.deepcopy(_at(moment, base))


def served(given: DistillationSpec) -> DistillationSpec:
    """The spec, neither suspended, nor in a queue, nor without a server, nor published."""
    plain = {"serving": PLAIN.serving, "publication": PLAIN.publication}
    return given.model_copy(update={"suspend": False, "queue": None, **plain})


SMALL_SPECS = {"plain": spec(), "on vLLM": spec(serving={"runtime": "VLLM"})}
PLAIN = DistillationSpec.model_validate(spec())


def change(name: str) -> tuple[str, DistillationSpec]:
    """The base in which a field has a value, and the spec with another value of it."""
    path, row = FIELDS[name], TABLE[name]
    if isinstance(row, dict):
        base = row.get("from", "plain")
        return base, DistillationSpec.model_validate(
            merged(merged(SMALL_SPECS[base], row.get("with", {})), nested(name, row["to"]))
        )
    for base, given in SPECS.items():
        value = given_value(given, path)
        if value is not None:
            return base, with_value(served(given), path, another(value))
    raise AssertionError(f"{name} has no value in tests/data/input/full_specs.yaml; give it one, or a row with `to`")


def nested(name: str, value: Any) -> dict[str, Any]:
    """A spec with that field alone, by the names in Python."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


def merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}
    return other


def expected(name: str) -> str:
    row = TABLE[name]
    return str(row["again"] if isinstance(row, dict) else row)


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    """Say in tests/data/input/changes.yaml which stage is the first to run again where the field changes."""
    assert (set(FIELDS) - set(TABLE), set(TABLE) - set(FIELDS)) == (set(), set())


def reached(moment: str) -> int:
    """The number of stages that are done or under way."""
    return Stage(moment).number if moment in tuple(Stage) else {ROLLOUT: 4, IDLE: 5}[moment]


def cases() -> Iterator[tuple[str, str]]:
    """Each field at two moments, which change from field to field; with CHAOS=whole, at all."""
    for index, name in enumerate(name for name, row in TABLE.items() if row != FIXED):
        moments = MOMENTS if os.environ.get("CHAOS") == "whole" else (MOMENTS[index % 6], MOMENTS[(index + 3) % 6])
        yield from ((name, moment) for moment in moments)


@pytest.mark.parametrize(("name", "moment"), [*cases()])
def test_a_change_stops_what_it_makes_obsolete_and_nothing_else(name: str, moment: str) -> None:
    base, changed = change(name)
    before, cluster = _at(moment, base), at(moment, base)
    cluster.becomes(changed)
    cluster.settle()
    again = expected(name)
    check_records(before, cluster, again)
    check_jobs(before, cluster, moment, again)
    check_server(before, cluster, again)
    assert cluster.status.observed_generation == cluster.generation


def is_obsolete(stage: Stage, again: str) -> bool:
    if again in tuple(Stage):
        return stage.number >= Stage(again).number
    return again == NO_SERVER and stage is Stage.VERIFY


def check_records(before: ChangingLife, after: ChangingLife, again: str) -> None:
    """What is done stays done, unless it is obsolete."""
    for record in before.status.stages:
        if record.completion_time and not is_obsolete(record.name, again):
            assert after.record(record.name) == record
        elif record.name is Stage.VERIFY and goes_first(before.under_way, again):
            assert after.record(Stage.VERIFY) == record
        elif is_obsolete(record.name, again) and again != Stage.PUBLISH:
            # While a student is pushed, the server that was verified serves on.
            present = [each for each in after.status.stages if each.name is record.name]
            assert all(each.input_hash != record.input_hash for each in present)


def goes_first(moment: str, again: str) -> bool:
    """Whether the student that serves is verified before a new one is made."""
    return moment == Stage.VERIFY and again in tuple(Stage) and again != Stage.VERIFY


def check_jobs(before: ChangingLife, after: ChangingLife, moment: str, again: str) -> None:
    """The Job that runs goes on unless it is obsolete; the first obsolete stage starts, and no other."""
    created = [name for name in after.created[len(before.created) :] if ("Job", name) in after.objects]
    running = before.live
    stops = running is not None and is_obsolete(running, again) and not goes_first(moment, again)
    if running and not stops:
        (job,) = (name for (kind, name), found in before.objects.items() if kind == "Job" and not ended(found))
        assert ("Job", job) in after.objects
        assert after.objects["Job", job]["spec"]["suspend"] is (again == PAUSE)
    elif running:
        assert after.live in (again, None)
    starts = again in tuple(Stage) and Stage(again).number <= reached(moment) and again != Stage.VERIFY
    starts = starts and not goes_first(moment, again)
    assert created == ([f"conjnli-{after.plan.stage(Stage(again)).folder}-1"] if starts else [])


def check_server(before: ChangingLife, after: ChangingLife, again: str) -> None:
    """Only a change of the server itself, or of its student once that is evaluated, replaces its Pods."""
    server, now = (each.objects.get(("Deployment", "conjnli")) for each in (before, after))
    if again == NO_SERVER or server is None:
        assert now is None
    else:
        assert now is not None
        assert (now["spec"]["template"] == server["spec"]["template"]) is (again != Stage.VERIFY)


SAMPLES = {
    Stage.GENERATE: "data.version",
    Stage.TRAIN: "training.seed",
    Stage.EVALUATE: "evaluation.judge.model",
    Stage.PUBLISH: "serving.model_image.repository",
    Stage.VERIFY: "serving.image",
    NOTHING: "generation.concurrency",
}
"""One field of each kind."""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("again", SAMPLES)
def test_after_a_change_every_run_ends_ready_and_no_stage_has_run_twice(again: str, moment: str) -> None:
    base, changed = change(SAMPLES[again])
    assert expected(SAMPLES[again]) == again
    cluster = at(moment, base)
    cluster.becomes(changed)
    cluster.reach(IDLE)
    jobs = [name for name in cluster.created if "-1" in name and "workspace" not in name]
    assert len(jobs) == len(set(jobs))
    assert all(record.attempts == 1 for record in cluster.status.stages)
    model = cluster.objects["Deployment", "conjnli"]["metadata"]["annotations"]["distillery.dev/model-path"]
    assert model == cluster.plan.model_path
    assert set(cluster.jobs()) == {record.job for record in cluster.status.stages}


@pytest.mark.parametrize("stage", [*RUN_STAGES, Stage.VERIFY])
@pytest.mark.parametrize("again", [again for again in SAMPLES if again != NOTHING])
def test_the_result_of_an_earlier_generation_never_counts_for_a_later_one(again: str, stage: Stage) -> None:
    base, changed = change(SAMPLES[again])
    cluster = at(stage, base)
    cluster.complete()  # seen by nobody yet
    before = cluster.status
    cluster.becomes(changed)
    cluster.settle()
    records = {record.name: record for record in cluster.status.stages}
    if goes_first(stage, again):
        assert [run.verification is not None for run in cluster.status.history] == [True]
        assert records[Stage(again)].completion_time is None
    elif is_obsolete(stage, again):
        assert stage not in records or records[stage].completion_time is None
        assert (cluster.status.evaluation, cluster.status.history) == (before.evaluation, before.history)
    else:
        assert records[stage].completion_time is not None


@pytest.mark.parametrize("stage", [*Stage][:3])
def test_a_change_and_back_again_goes_on_with_what_was_done(stage: Stage) -> None:
    base, changed = change(SAMPLES[stage])
    cluster = at(stage, base)
    present = cluster.model
    cluster.becomes(changed)
    cluster.settle()
    cluster.becomes(present)
    cluster.reach(IDLE)
    earlier = [record for record in cluster.status.stages if record.name in stage.earlier]
    assert all(record.attempts == 1 for record in earlier)
