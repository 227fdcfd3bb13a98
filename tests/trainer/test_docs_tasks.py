"""What docs/tasks.md tells users is what the code does: its rows are valid, its prompts are the prompts."""

import re
from pathlib import Path

import pytest

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.data.row_reader import read_valid_rows
from distillery_trainer.data.sources import sources
from distillery_trainer.tasks import task_for
from generate_run import GenerateRun

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "currency": {"enum": ["EUR", "USD"]}, "date": {"format": "date"}},
}
GENERATION = {Task.EXTRACTION: {"schema": SCHEMA}}
LABELS = {
    Task.NLI: ["entailment", "neutral", "contradiction"],
    Task.CLASSIFICATION: ["positive", "negative", "mixed"],
}


def config_of(task, folder, rows=b""):
    labels = LABELS.get(task, [])
    fields = {"task": task, "labels": labels}
    run = GenerateRun(folder, "https://teacher.example/v1", rows, generation=GENERATION.get(task, {}), config=fields)
    return RunConfig.read(run.config_file)


@pytest.mark.parametrize("task", Task)
def test_row_of_every_task_is_valid(task, tmp_path):
    texts = re.findall(r"```json\n(.*?)\n```", SECTIONS[task], re.DOTALL)
    config = config_of(task, tmp_path, "\n".join(texts).encode())
    rows = list(read_valid_rows(sources(config)[0]))
    assert [task_for(config).row_problem(row) for row in rows] == [None] * len(texts)


@pytest.mark.parametrize("task", Task)
def test_student_prompt_of_every_task_is_quoted(task, tmp_path):
    quoted = re.search(r"Student prompt: `(.*?)`", SECTIONS[task], re.DOTALL)
    assert " ".join(quoted[1].split()) == task_for(config_of(task, tmp_path)).student_prompt()


def test_every_rejection_reason_is_explained():
    assert [reason for reason in RejectionReason if f"`{reason}`" not in PAGE] == []
