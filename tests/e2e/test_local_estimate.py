"""Estimate, pilot, run and export on this machine, as a user calls them."""

import json
import subprocess

import pytest

from command_line_run import PROGRAM, CommandLineRun, finished, quiet_environment
from generate_run import gold_of, nli_rows
from teacher_server import gold_teacher

ROWS = {"train": nli_rows(90), "validation": nli_rows(70, 100), "test": nli_rows(12, 200)}
PRICING = {"currency": "USD", "inputPerMillion": 2.0, "outputPerMillion": 10.0}


def distillery(*arguments):
    command = [str(PROGRAM), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return finished(subprocess.Popen(command, env=quiet_environment(), text=True, **pipes))


@pytest.fixture
def prepared(tmp_path):
    with gold_teacher(gold_of(*ROWS.values())) as teacher:
        yield CommandLineRun(tmp_path, teacher.url, **ROWS, teacher={"pricing": PRICING}), teacher


def test_pilot_is_paid_once_and_close_to_what_the_run_uses(prepared):
    run, teacher = prepared
    manifest = run.manifest
    first = distillery("estimate", manifest, "--out", run.out)
    assert (first.exit_code, len(teacher.requests)) == (0, 0)
    assert "Cost (USD)" in first.stdout
    assert not run.out.exists()
    pilot = distillery("estimate", manifest, "--out", run.out, "--pilot", "--output", "json")
    assert (pilot.exit_code, len(teacher.requests)) == (0, 20)
    estimate = json.loads(pilot.stdout)
    ended = run.run("--until", "generate")
    assert (ended.exit_code, len(teacher.requests)) == (0, 172)
    usage = run.result["usage"]
    assert estimate["cost"] == pytest.approx(usage["cost"], rel=0.05)
    assert estimate["inputTokens"] == pytest.approx(usage["inputTokens"], rel=0.05)
    exported = distillery("export", run.out, "--output", run.root / "chat.jsonl")
    assert exported.stdout == f"Wrote 90 chat rows to {run.root}/chat.jsonl.\n"


def test_bad_rows_are_reported_without_a_traceback(prepared):
    run, _ = prepared
    run.train = b'{"messages": []}\n'
    ended = distillery("estimate", run.manifest)
    assert ended.exit_code == 2
    assert "train.jsonl, line 1" in ended.stderr
