"""The test teacher answers with the gold of a row, whatever prompt surrounds it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from chat_faults import rate_limited, script
from server_process import server_process
from teacher_server import GoldAnswers, gold_from_folder, gold_teacher, prompt_key

GOLD = {"Premise: A\nHypothesis: B": "entailment", "Premise: A\nHypothesis: B and C": "contradiction"}


def as_user(content: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("content", "label"),
    [
        ("Premise: A\nHypothesis: B", "entailment"),
        ("Judge this.\n<row>\n  Premise: A\n  Hypothesis: B\n</row>", "entailment"),
        ("Judge this. Premise: A\nHypothesis: B and C", "contradiction"),
        ('{"row": "Premise: A\\nHypothesis: B"}', "entailment"),
        ("Premise: X\nHypothesis: Y", "unknown row"),
    ],
)
def test_row_is_found_by_its_longest_gold_key(content: str, label: str) -> None:
    assert GoldAnswers(GOLD)(as_user(content)).label == label


def test_row_is_found_in_a_follow_up_request() -> None:
    again = [*as_user("Premise: A\nHypothesis: B"), {"role": "assistant", "content": "{"}, *as_user("That is no JSON.")]
    assert GoldAnswers(GOLD)(again).label == "entailment"


def test_wrong_share_of_rows_gets_another_label_each_time() -> None:
    gold = {f"row number {number}.": ["yes", "no"][number % 2] for number in range(1000)}
    answers = GoldAnswers(gold, wrong_rate=0.3)
    first, second = ([answers(as_user(content)).label for content in gold] for _ in range(2))
    wrong = sum(label != right for label, right in zip(first, gold.values(), strict=True))
    assert first == second
    assert 250 <= wrong <= 350


def test_gold_teacher_fails_by_script_and_then_answers() -> None:
    with (
        gold_teacher(GOLD, faults=script([rate_limited(1)])) as teacher,
        openai.OpenAI(base_url=teacher.url, api_key="any", max_retries=1) as client,
    ):
        reply = client.chat.completions.create(
            model="teacher", messages=[{"role": "user", "content": "Premise: A\nHypothesis: B"}]
        )
    assert reply.choices[0].message.content == "entailment"
    assert [request.status for request in teacher.requests] == [429, 200]


def write_folder(folder: Path) -> None:
    messages = as_user("Premise: É\nHypothesis: B")
    canonical = '[{"content":"Premise: É\\nHypothesis: B","role":"user"}]'
    key = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    (folder / "train.jsonl").write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    (folder / "gold.jsonl").write_text(json.dumps({"prompt_key": key, "gold": "neutral"}) + "\n", encoding="utf-8")
    own = {"messages": as_user("Premise: C\nHypothesis: D"), "gold": "entailment"}
    (folder / "test.jsonl").write_text(json.dumps(own) + "\n", encoding="utf-8")
    assert prompt_key(messages) == key


def test_gold_of_a_folder_comes_from_the_gold_file_and_from_the_rows(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert gold_from_folder(tmp_path) == {
        "Premise: É\nHypothesis: B": "neutral",
        "Premise: C\nHypothesis: D": "entailment",
    }


def test_process_answers_from_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with (
        server_process("tests/support/teacher_server.py", tmp_path / "port", "--data", str(tmp_path)) as url,
        openai.OpenAI(base_url=url, api_key="any") as client,
    ):
        reply = client.chat.completions.create(
            model="teacher", messages=[{"role": "user", "content": "Premise: C\nHypothesis: D"}]
        )
    assert reply.choices[0].message.content == "entailment"
