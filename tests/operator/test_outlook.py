"""What `distillery plan FILE --out DIR` says of each stage, and what another model of the teacher means."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage import Stage
from distillery_api.usage import Estimate
from distillery_operator.cli.app import app
from distillery_operator.cli.paid_again import sentence
from distillery_operator.local.local_plan import local_plan
from distillery_operator.local.outlook import OutlookState, outlook
from distillery_operator.local.references import LocalSubstitutes, find_inputs
from distillery_operator.local.run import LocalRun
from distillery_operator.manifest_input.manifest_file import read_manifest

SUPPORT = Path(__file__).parents[1] / "support"
MANIFEST = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: conjnli}
spec:
  task: NLI
  data: {train: {uri: rows.jsonl}, validation: {uri: rows.jsonl}}
  generation:
    teachers: [{name: big, endpoint: "http://127.0.0.1:9/v1", model: big}]
  student: {model: {uri: hf://org/student}}
  training: {epochs: 3}
"""


class Nothing:
    """A listener to whom all is one."""

    def __getattr__(self, name):
        return lambda *arguments: None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    path = os.pathsep.join([str(SUPPORT / "scripted_trainer"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(folder, text):
    (folder / "manifest.yaml").write_text(text)
    manifest = read_manifest(folder / "manifest.yaml")
    inputs = find_inputs(manifest, LocalSubstitutes(), keys=False)
    return local_plan(manifest.distillation, inputs.fingerprints), inputs


def run(folder, monkeypatch, text=MANIFEST, until=None, **script):
    monkeypatch.setenv("SCRIPT", json.dumps(script))
    plan, inputs = planned(folder, text)
    return LocalRun(plan, inputs, folder / "out", Nothing(), StopRequest(), until, retry_seconds=()).run()


def states(folder, text=MANIFEST):
    """What a run would do with each stage: whether it is done and, if it runs, why."""
    plan, inputs = planned(folder, text)
    found = outlook(plan, inputs, folder / "out")
    return [True if each.state is OutlookState.DONE else each.why for each in found]


def test_in_a_new_folder_no_stage_has_run(folder):
    assert states(folder) == ["it has not run yet"] * 3


def test_after_a_run_all_is_done(folder, monkeypatch):
    run(folder, monkeypatch)
    assert states(folder) == [True] * 3


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("epochs: 3", "epochs: 2", [True, "training.epochs: 2, before 3", "it follows train, which runs"]),
        ("epochs: 3", "learningRate: 0.1, epochs: 3", [True, "training.learningRate: 0.1, before the default"]),
        ("model: big", "model: bigger", ["generation.teachers[0].model: bigger, before big"]),
        ("task: NLI", "task: Math", ["task: Math, before NLI"]),
        ("hf://org/student", "hf://org/other", [True, "student.model.uri: hf://org/other, before hf://org/student"]),
        (
            "teachers:",
            "sampling: {temperature: 0.5}\n    teachers:",
            ["generation.sampling.temperature: 0.5, before the default"],
        ),
    ],
)
def test_a_changed_field_is_named_with_both_values(folder, monkeypatch, before, after, said):
    run(folder, monkeypatch)
    found = states(folder, MANIFEST.replace(before, after))
    assert found[: len(said)] == said


def test_a_field_that_determines_no_result_runs_nothing(folder, monkeypatch):
    run(folder, monkeypatch)
    assert states(folder, MANIFEST.replace("teachers:", "concurrency: 7\n    teachers:")) == [True] * 3


def test_changed_rows_and_failures_and_rows_to_repeat_are_named(folder, monkeypatch):
    run(folder, monkeypatch, train=[{"exit": 2, "reason": "InvalidSpec", "message": "too large"}])
    assert states(folder) == [True, "it failed: too large", "it has not run yet"]
    (folder / "rows.jsonl").write_text("{} \n")
    assert states(folder)[0] == "the content of what it reads has changed"
    rows = {"read": 9, "kept": 6, "rejected": 3, "transientFailures": 3}
    run(folder, monkeypatch, generate=[{"rows": rows}])
    assert states(folder)[0] == "3 rows failed for a cause that may pass"


def test_the_last_configuration_counts(folder, monkeypatch):
    run(folder, monkeypatch, until=Stage.TRAIN)
    time.sleep(0.02)
    run(folder, monkeypatch, MANIFEST.replace("epochs: 3", "epochs: 4"), until=Stage.TRAIN)
    assert states(folder, MANIFEST.replace("epochs: 3", "epochs: 5"))[1] == "training.epochs: 5, before 4"


GATED = """\
  evaluation: {gate: {minScore: 0.8}}
  publication: {hub: {repository: team/student, credentials: {secretName: publisher}}}
"""


def test_a_student_that_failed_its_gate_is_not_said_to_be_published(folder, monkeypatch):
    gated = MANIFEST + GATED
    assert states(folder, gated) == ["it has not run yet"] * 4
    run(folder, monkeypatch, gated, evaluate=[{"evaluation": {"sampleSize": 4, "student": {"score": 0.75}}}])
    why = "the student fails the quality gate: score 0.75 is below minScore 0.8"
    assert states(folder, gated) == [True, True, True, why]
    plan, inputs = planned(folder, gated)
    assert outlook(plan, inputs, folder / "out")[-1].state == "left out"
    assert states(folder, gated.replace("0.8", "0.7"))[-1] == "it has not run yet"
    trained_anew = gated.replace("epochs: 3", "epochs: 2")
    assert states(folder, trained_anew)[-1] == "it has not run yet"


EXPECTED = {"rows": 50, "storedRows": 250, "requests": 50, "inputTokens": 9, "outputTokens": 1, "lowTokens": 1}
ESTIMATE = {**EXPECTED, "highTokens": 20, "cost": 4, "lowCost": 2, "highCost": 5, "currency": "EUR"}


def test_plan_shows_what_is_done_and_what_the_rest_costs(folder, monkeypatch):
    run(folder, monkeypatch)
    monkeypatch.setenv("SCRIPT", json.dumps({"estimate": [{"estimate": ESTIMATE}]}))
    (folder / "manifest.yaml").write_text(MANIFEST.replace("model: big", "model: bigger"))
    result = CliRunner().invoke(app, ["plan", "manifest.yaml", "--out", "out"])
    assert result.exit_code == 0
    assert "will run" in result.stdout
    assert "generation.teachers[0].model: bigger, before big" in " ".join(result.stdout.split())
    assert "generate: estimate: 50 of 300 rows to ask: 50 requests;" in result.stdout
    assert "4.00 EUR (2.00 to 5.00)" in result.stdout


def test_another_model_is_said_before_it_is_paid_for(folder, monkeypatch):
    run(folder, monkeypatch)
    again = {**ESTIMATE, "rows": 300, "storedRows": 0}
    monkeypatch.setenv("SCRIPT", json.dumps({"estimate": [{"estimate": again}]}))
    (folder / "manifest.yaml").write_text(MANIFEST.replace("model: big", "model: bigger"))
    result = CliRunner().invoke(app, ["run", "manifest.yaml", "--out", "out"])
    said = "The teacher's model is bigger, before big: 300 rows are asked anew and paid for again (50 requests;"
    assert said in result.stdout
    assert (result.exit_code, states(folder, MANIFEST.replace("model: big", "model: bigger"))) == (0, [True] * 3)


def test_in_a_terminal_another_model_needs_yes(folder, monkeypatch):
    run(folder, monkeypatch)
    script = json.dumps({"estimate": [{"estimate": {**ESTIMATE, "rows": 300, "storedRows": 0}}]})
    (folder / "manifest.yaml").write_text(MANIFEST.replace("model: big", "model: bigger"))
    refused = in_terminal(["run", "manifest.yaml", "--out", "out"], script)
    assert "300 rows are asked anew and paid for again" in refused[1]
    assert (refused[0], "add --yes" in refused[1]) == (2, True)
    assert states(folder, MANIFEST.replace("model: big", "model: bigger"))[0] != True  # noqa: E712
    assert in_terminal(["run", "manifest.yaml", "--out", "out", "--yes"], script)[0] == 0


def in_terminal(arguments, script):
    """Exit code and output of `distillery` in a terminal of its own."""
    command = [sys.executable, "-c", "from distillery_operator.cli import main; main()", *arguments]
    ours, its = pty.openpty()
    environment = {**os.environ, "SCRIPT": script, "COLUMNS": "500"}
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    output = b""
    with contextlib.suppress(OSError):  # a terminal without a process
        while chunk := os.read(ours, 4096):
            output += chunk
    os.close(ours)
    return process.wait(), " ".join(output.decode().split())


def test_the_sentence_names_both_models():
    estimate = Estimate(rows=2, requests=2, input_tokens=9, output_tokens=1, low_tokens=1, high_tokens=20)
    assert sentence(("a", "b"), ("c",), estimate).startswith("The teacher's model is c, before a and b: 2 rows")
