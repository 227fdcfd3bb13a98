"""The dataset card: everything that an audit a year later needs, and no secrets."""

import json

import pytest
import yaml

from distillery_api.paths import StageFolder
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts, StageOutcome, StageResult
from distillery_api.usage import Estimate, Usage
from distillery_trainer.generation.dataset_card import card_text, write_card
from distillery_trainer.tasks import task_for
from generate_run import GenerateRun

TEACHER = {"name": "big", "model": "llama-405b", "licence": "llama3.1"}
RESULT = StageResult(
    stage=Stage.GENERATE,
    folder="generate-abc",
    state=StageOutcome.DONE,
    splits={
        "train": RowCounts(read=1200, kept=1180, rejected=20, rejected_by_reason={"bad_json": 5, "duplicate": 15}),
        "validation": RowCounts(read=100, kept=100),
        "test": RowCounts(read=50, kept=50),
    },
    usage=Usage(
        requests=1350,
        input_tokens=400_000,
        output_tokens=60_000,
        cached_input_tokens=120_000,
        reasoning_tokens=9_000,
        cost=1.6,
        currency="USD",
    ),
    estimate=Estimate(
        rows=1350, requests=1350, input_tokens=390_000, output_tokens=61_000, low_tokens=400_000, high_tokens=500_000
    ),
)
SAMPLE = {
    "id": "train-1",
    "prompt": [{"role": "system", "content": "Choose a label."}, {"role": "user", "content": "Premise: a|b"}],
    "completion": [{"role": "assistant", "content": "neutral"}],
    "teacher": "big",
}


def card(folder, samples=(SAMPLE,), result=RESULT, **changes):
    run = GenerateRun(folder, "https://teacher.example/v1", test=None, **{"teacher": TEACHER, **changes})
    config = RunConfig.read(run.config_file)
    return card_text(config, task_for(config), result, list(samples), result.usage)


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_front_matter_is_what_hubs_read(tmp_path):
    assert front_matter(card(tmp_path, data={"licence": "CC-BY-4.0"})) == {
        "license": ["cc-by-4.0", "llama3.1"],
        "task_categories": ["text-classification"],
        "size_categories": ["1K<n<10K"],
        "tags": ["distillation", "synthetic"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.jsonl"},
                    {"split": "validation", "path": "validation.jsonl"},
                ],
            },
            {"config_name": "held-out", "data_files": [{"split": "test", "path": "test.jsonl"}]},
        ],
    }


def test_licence_that_hubs_do_not_know_is_given_by_name(tmp_path):
    facts = front_matter(card(tmp_path, data={"licence": "Our house rules"}))
    assert (facts["license"], facts["license_name"]) == ("other", "Our house rules; llama3.1")


def test_no_licence_is_not_made_up(tmp_path):
    text = card(tmp_path, teacher={"model": "m"})
    assert "license" not in front_matter(text)
    assert "Licence of the data: not specified." in text


def test_source_teacher_and_counts_stand_in_tables(tmp_path):
    text = card(tmp_path, data={"version": "2026-11"})
    assert "| train | train.jsonl | Auto | 1,200 |" in text
    assert "Version: 2026-11." in text
    assert "The test rows are half of the validation rows, chosen by content." in text
    assert "| big | llama-405b | https://teacher.example/v1 | llama3.1 |" in text
    assert "| train | 1,200 | 1,180 | 20 | 15 duplicate, 5 bad_json |" in text


def test_cost_section_has_cached_and_reasoning_tokens_and_the_estimate(tmp_path):
    text = card(tmp_path)
    assert "| of which cached by the server | 120,000 |" in text
    assert "| of which reasoning | 9,000 |" in text
    assert "| Cost | 1.60 USD |" in text
    assert "Estimate before the first request: 1,350 requests; 390,000 input and 61,000 output tokens" in text


def test_prompts_are_those_of_the_first_row(tmp_path):
    text = card(tmp_path, generation={"chainOfThought": True})
    assert "```text\nChoose a label.\n```" in text
    assert "You are a careful assistant who judges how two pieces of text relate" in text
    assert "| chainOfThought | true |" in text
    assert "| temperature | 0.2 |" in text


def test_servers_are_named_and_the_query_of_a_source_is_left_out(tmp_path):
    servers = [{"url": "https://one.example/v1"}, {"url": "https://two.example/v1"}]
    run = GenerateRun(tmp_path, "", data={"train": {"uri": "https://rows.example/a.jsonl?sig=s3cret"}})
    config = RunConfig.read(_with_servers(run, servers))
    text = card_text(config, task_for(config), RESULT, [SAMPLE], RESULT.usage)
    assert "s3cret" not in text
    assert "https://one.example/v1, https://two.example/v1" in text
    assert "https://rows.example/a.jsonl" in text


def _with_servers(run, servers):
    run.endpoint = "https://x.example/v1"
    path = run.config_file
    config = json.loads(path.read_text())
    teacher = config["generation"]["teachers"][0]
    del teacher["endpoint"]
    teacher["servers"] = servers
    path.write_text(json.dumps(config))
    return path


def test_partial_supervision_is_stated(tmp_path):
    assert "partly supervised" in card(tmp_path, generation={"filters": {"disagreesWithGold": True}})


def test_fences_in_a_row_do_not_end_the_block(tmp_path):
    fenced = {**SAMPLE, "completion": [{"role": "assistant", "content": "```json\n{}\n```"}]}
    assert "````json\n{" in card(tmp_path, samples=[fenced])


def test_long_texts_are_truncated(tmp_path):
    long = {**SAMPLE, "completion": [{"role": "assistant", "content": "word " * 1000}]}
    assert len(card(tmp_path, samples=[long])) < 8000


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_card_is_written_beside_the_rows_and_always_the_same(tmp_path, rows):
    folder = StageFolder(tmp_path / "generate-abc")
    folder.path.mkdir()
    folder.train.write_text("".join(json.dumps(SAMPLE | {"id": f"row-{n}"}) + "\n" for n in range(rows)))
    config = RunConfig.read(GenerateRun(tmp_path, "https://teacher.example/v1").config_file)
    write_card(folder, config, task_for(config), RESULT, RESULT.usage)
    first = folder.card.read_bytes()
    write_card(folder, config, task_for(config), RESULT, RESULT.usage)
    assert folder.card.read_bytes() == first
    assert first.count(b'"id": "row-') == min(rows, 3)
