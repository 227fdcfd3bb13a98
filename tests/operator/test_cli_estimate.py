"""`distillery estimate`, from its flags to what it prints."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distillery_api.spec import Budget
from distillery_api.usage import Estimate
from distillery_operator.cli.app import app
from distillery_operator.cli.estimate_table import estimate_notes

SUPPORT = Path(__file__).parents[1] / "support"
MANIFEST = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: conjnli}
spec:
  task: NLI
  data: {train: {uri: rows.jsonl}, validation: {uri: rows.jsonl}}
  generation:
    teachers: [{name: big, endpoint: "https://teacher.example/v1", model: big, apiKey: {secretName: teacher}}]
    budget: {maxTokens: 1000}
  student: {model: {uri: hf://org/student}}
"""
ESTIMATE = {
    "rows": 1200,
    "requests": 1200,
    "inputTokens": 312000,
    "outputTokens": 156000,
    "lowTokens": 400000,
    "highTokens": 900000,
    "currency": "EUR",
    "cost": 2.34,
    "lowCost": 1.5,
    "highCost": 6.0,
}


@pytest.fixture
def distillery(tmp_path, monkeypatch):
    """Runs the command line in a folder that holds a manifest and rows, with a trainer that plays a script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT / 'scripted_trainer'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    Path("conjnli.yaml").write_text(MANIFEST)
    Path("rows.jsonl").write_text("{}\n")
    Path("teacher.env").write_text("api-key=s3cret\n")

    def run(script, *arguments):
        monkeypatch.setenv("SCRIPT", json.dumps({"estimate": [script]}))
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_estimate_shows_tokens_cost_and_advice(distillery):
    result = distillery({"estimate": ESTIMATE}, "estimate", "conjnli.yaml")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].strip() == "Estimate for conjnli (teacher)"
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["Total", "tokens", "468,000", "400,000", "900,000"] in lines
    assert ["Cost", "(EUR)", "2.34", "1.50", "6.00"] in lines
    assert "generation.budget.maxTokens (1,000) is below the estimate" in result.stdout
    assert "For a better estimate, use --pilot" in result.stdout


def test_estimate_with_a_judge_says_whose_cost_it_is(distillery):
    judge = '    judge: {endpoint: "https://judge.example/v1", model: j}\n  student:'
    Path("conjnli.yaml").write_text(MANIFEST.replace("  student:", judge, 1))
    result = distillery({"estimate": ESTIMATE}, "estimate", "conjnli.yaml")
    assert result.stdout.splitlines()[0].strip() == "Estimate for conjnli (teacher and judge)"


def test_estimate_without_a_pilot_needs_no_key_and_leaves_nothing_behind(distillery):
    before = sorted(Path().iterdir())
    result = distillery({"estimate": ESTIMATE}, "estimate", "conjnli.yaml", "--output", "json")
    printed = json.loads(result.stdout)
    assert (printed["rows"], printed["cost"], printed["currency"]) == (1200, 2.34, "EUR")
    assert json.loads(printed["basis"])["arguments"] == []
    assert sorted(Path().iterdir()) == before


def test_pilot_works_in_the_folder_of_the_run(distillery):
    flags = ("--pilot", "--secret", "teacher=teacher.env", "--output", "json")
    result = distillery({"estimate": ESTIMATE}, "estimate", "conjnli.yaml", *flags)
    given = json.loads(json.loads(result.stdout)["basis"])
    assert given["arguments"] == ["--pilot"]
    assert given["workspace"] == str(Path("runs/conjnli").resolve())
    assert given["folder"].startswith("generate-")


def test_pilot_needs_the_teachers_key(distillery):
    result = distillery({}, "estimate", "conjnli.yaml", "--pilot")
    assert result.exit_code == 2
    assert "--secret teacher=ENVFILE" in result.stderr


def test_message_and_exit_code_of_the_trainer_are_kept(distillery):
    result = distillery({"exit": 3, "says": "Teacher big cannot be reached.\n"}, "estimate", "conjnli.yaml")
    assert (result.exit_code, result.stderr) == (3, "Teacher big cannot be reached.\n")


def test_missing_rows_are_reported_before_anything_starts(distillery):
    Path("rows.jsonl").unlink()
    result = distillery({}, "estimate", "conjnli.yaml")
    assert result.exit_code == 2
    assert "rows.jsonl does not exist; check the path" in result.stderr


def test_budget_that_is_enough_is_not_mentioned():
    estimate = Estimate.model_validate({**ESTIMATE, "pilotRows": 20})
    assert estimate_notes(estimate, Budget(max_tokens=468_000, max_cost=2.34)) == []
    assert estimate_notes(estimate, Budget(max_cost=2.0)) == [
        "generation.budget.maxCost (2.00 EUR) is below the estimate: the run will fail before all rows are answered."
    ]


def test_estimate_without_prices_says_how_to_get_a_cost():
    estimate = Estimate.model_validate({**ESTIMATE, "cost": None, "pilotRows": 20, "basis": "tokens are counted"})
    assert estimate_notes(estimate, Budget()) == [
        "Tokens are counted.",
        "To estimate the cost, set the teacher's pricing (generation.teachers[0].pricing).",
    ]
