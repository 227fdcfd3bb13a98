"""Each task through the generate stage, with a teacher over HTTP: its requests, and what the student learns."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chat_protocol import Answer, last_user_text
from chat_server import TeacherServer
from generate_run import GenerateRun

ROWS = {"train": 4, "validation": 2, "test": 2}
"""Rows of each split."""


def splits(row: Callable[[int], Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by split, each about a number of its own."""
    start = {"train": 10, "validation": 20, "test": 30}
    return {
        split: [row(number) for number in range(start[split], start[split] + count)] for split, count in ROWS.items()
    }


def stage(tmp_path, task: str, teacher: TeacherServer, row: Callable[[int], Mapping[str, Any]], **generation: Any):
    """The stage after its run."""
    run = GenerateRun(
        tmp_path,
        teacher.url,
        **splits(row),
        generation={"minRows": 1, "filters": {"duplicates": "None", "leakage": "None"}, **generation},
        config={"task": task, "labels": ()},
    )
    run.run()
    return run


def single(text: str, **extra: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **extra}


def learnt(run: GenerateRun) -> list[str]:
    return [row["completion"][0]["content"] for row in run.rows("train")]


@pytest.mark.parametrize("reasoned", [False, True])
def test_multiple_choice_learns_the_letter(tmp_path, reasoned):
    def row(number: int) -> dict[str, Any]:
        return single(f"Which is {number}?\nA. {number}\nB. {number + 1}\nC. {number + 2}", gold="A")

    with TeacherServer(lambda messages: Answer("A", "It says so.")) as teacher:
        run = stage(tmp_path, "MultipleChoice", teacher, row, chainOfThought=reasoned)
    assert learnt(run) == ["A"] * 4
    assert [row["answer"] for row in run.rows("test")] == ["A", "A"]
    assert run.result.splits["validation"].kept == 2


def test_math_learns_the_number_in_canonical_form(tmp_path):
    def answer(messages: Any) -> Answer:
        number = last_user_text(messages).split()[3]
        return Answer(json.dumps({"reason": f"Half of 2 * {number}", "answer": f"${number}.0"}))

    with TeacherServer(answer) as teacher:
        run = stage(tmp_path, "Math", teacher, lambda number: single(f"What is {number} ?"), chainOfThought=True)
    assert learnt(run) == ["10", "11", "12", "13"]


def test_summary_is_the_last_of_four(tmp_path):
    def answer(messages: Any) -> Answer:
        rounds = [{"Missing_Entities": "x", "Denser_Summary": f"Summary {number} of it."} for number in range(1, 5)]
        return Answer(f"```json\n{json.dumps(rounds)}\n```")

    with TeacherServer(answer) as teacher:
        run = stage(
            tmp_path, "Summarization", teacher, lambda number: single(f"A long text {number}."), chainOfDensity=True
        )
    assert learnt(run) == ["Summary 4 of it."] * 4


def test_summaries_that_are_not_four_are_requested_again_and_rejected(tmp_path):
    with TeacherServer(lambda messages: Answer("Just a summary.")) as teacher:
        run = stage(
            tmp_path,
            "Summarization",
            teacher,
            lambda number: single(f"A long text {number}."),
            chainOfDensity=True,
            minSuccessRatio=0.0,
        )
        requested = [last_user_text(request.body["messages"]) for request in teacher.requests]
    assert set(run.reasons()) == {"bad_json"}
    assert any('not JSON with a list of four under "rounds"' in text for text in requested)


def test_every_turn_of_a_conversation_is_learned_after_the_teachers_own_answers(tmp_path):
    def row(number: int) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": f"Call {number}."},
                {"role": "assistant", "content": "What the row said."},
                {"role": "user", "content": f"Again {number}."},
            ]
        }

    with TeacherServer(lambda messages: Answer(f"Heard: {last_user_text(messages)}")) as teacher:
        run = stage(tmp_path, "Conversation", teacher, row)
    rows = run.rows("train")
    assert len(rows) == 8
    assert [message["content"] for message in rows[1]["prompt"][1:]] == ["Call 10.", "Heard: Call 10.", "Again 10."]
    assert rows[1]["completion"][0]["content"] == "Heard: Again 10."
    assert run.result.splits["train"].kept == 4


def test_text_learns_translations_and_rejects_what_breaks_a_rule(tmp_path):
    def row(number: int) -> dict[str, Any]:
        instruction = {"role": "system", "content": "Translate into German, formally."}
        text = f"We are sorry to tell you that train number {number} will leave the station an hour late today."
        return {"messages": [instruction, {"role": "user", "content": text}], "gold": ["Zug.", f"Zug {number}."]}

    def answer(messages: Any) -> Answer:
        number = re.search(r"\d+", last_user_text(messages))[0]
        form = "du" if number == "12" else "Sie"
        return Answer(f"Leider verlässt Zug {number} den Bahnhof heute eine Stunde später. Wir bitten {form} darum.")

    rules = [{"matches": r"\bSie\b"}]
    with TeacherServer(answer) as teacher:
        filters = {"duplicates": "None", "leakage": "None", "answerRules": rules}
        run = stage(tmp_path, "Text", teacher, row, filters=filters)
        systems = {request.body["messages"][0]["content"] for request in teacher.requests}
    assert systems == {"Translate into German, formally."}
    assert [text.split()[3] for text in learnt(run)] == ["10", "11", "13"]
    assert run.reasons() == ["breaks_rule"]
    assert run.rows("rejected")[0]["message"] == (
        r"The answer does not match the regular expression \bSie\b (generation.filters.answerRules[0])."
    )
    assert run.rows("test")[0]["gold"] == ["Zug.", "Zug 30."]


SCHEMA = {"type": "object", "properties": {"number": {"type": "number"}, "kind": {"enum": ["odd", "even"]}}}


def test_objects_are_requested_by_their_schema_and_learned_as_canonical_json(tmp_path):
    def row(number: int) -> dict[str, Any]:
        row = single(f"The number is {number} .", gold={"number": number})
        return {**row, "messages": [{"role": "system", "content": "Count from zero."}, *row["messages"]]}

    def answer(messages: Any) -> Answer:
        text = " ".join(message["content"] for message in messages)
        number = int(text.partition("The number is ")[2].split()[0])
        if number == 11 and "at $.number: \"eleven\" is not of type 'number'" not in text:
            return Answer('{"number": "eleven"}')
        return Answer(f'{{"number": {"null" if number == 13 else number}.0, "kind": null}}'.replace("null.0", '"?"'))

    with TeacherServer(answer) as teacher:
        run = stage(tmp_path, "Extraction", teacher, row, schema=SCHEMA, minSuccessRatio=0.0)
        first = teacher.requests[0].body
    assert first["response_format"]["json_schema"]["schema"]["required"] == ["kind", "number"]
    assert "Count from zero." in first["messages"][0]["content"]
    assert '"enum": ["odd", "even"]' in first["messages"][0]["content"]
    assert learnt(run) == ['{"number":10.0}', '{"number":11.0}', '{"number":12.0}']
    assert run.rows("train")[0]["prompt"][0] == {"role": "system", "content": "Count from zero."}
    [rejected] = run.rows("rejected")
    assert (rejected["reason"], rejected["message"]) == (
        "schema_mismatch",
        "The object does not fit generation.schema: at $.number: \"?\" is not of type 'number'.",
    )
    assert [row["gold"] for row in run.rows("test")] == ['{"number":30}', '{"number":31}']
    kept = json.loads((run.workspace / run.result.files["answerSchema"]).read_text())
    assert list(kept["properties"]) == ["kind", "number"]
