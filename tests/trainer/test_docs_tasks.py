"""What docs/tasks.md tells users is what the code does: its rows are good rows, its prompts are the prompts."""

import re
from pathlib import Path

import pytest

from distillery_api.run_config import RunConfig
from distillery_api.spec import Task
from distillery_trainer.data.row_reader import read_examples
from distillery_trainer.data.sources import sources
from distillery_trainer.tasks import task_for
from generate_run import GenerateRun

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
LABELS = {Task.NLI: ["entailment", "neutral", "contradiction"]}


def config_of(task, folder, rows=b""):
    labels = LABELS.get(task, [])
    run = GenerateRun(folder, "https://teacher.example/v1", rows, config={"task": task, "labels": labels})
    return RunConfig.read(run.config_file)


@pytest.mark.parametrize("task", Task)
def test_row_of_every_task_is_a_good_one(task, tmp_path):
    rows = re.findall(r"```json\n(.*?)\n```", SECTIONS[task], re.DOTALL)
    config = config_of(task, tmp_path, "\n".join(rows).encode())
    examples = list(read_examples(sources(config)[0]))
    assert [task_for(config).problem(example) for example in examples] == [None] * len(rows)


@pytest.mark.parametrize("task", Task)
def test_short_prompt_of_every_task_is_quoted(task, tmp_path):
    quoted = re.search(r"Short prompt: `(.*?)`", SECTIONS[task], re.DOTALL)
    assert " ".join(quoted[1].split()) == task_for(config_of(task, tmp_path)).short_prompt()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((\.\./[^)]+)\)", PAGE))))
def test_what_is_linked_is_there(link):
    assert (ROOT / "docs" / link).exists()


def test_reasons_of_all_parsers_and_filters_are_explained():
    sources = [path.read_text() for part in ("prompts", "filters") for path in _modules(part)]
    named = {reason for text in sources for reason in re.findall(r'(?:Unreadable|Verdict)\(\s*"([a-z_]+)"', text)}
    assert named
    assert sorted(reason for reason in named if f"`{reason}`" not in PAGE) == []


def _modules(part):
    return sorted((ROOT / "trainer_image" / "distillery_trainer" / part).glob("*.py"))
