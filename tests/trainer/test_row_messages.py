"""What `distillery prompts` shows of a row is what the run sends and what the student learns, for every task."""

from typing import Any

import pytest

from chat_protocol import Answer
from chat_server import TeacherServer
from distillery_api.run_config import RunConfig
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.stages import prompts
from distillery_trainer.tasks.prompts import rationale_prompt
from generate_run import GenerateRun, gold_of, nli_rows
from logprobs_teacher import StudentTokens, logprobs_teacher

TALK = ["Hello 1.", "Hi.", "What does it cost?"]


def row(*texts: str, system: str | None = None) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *messages]}


def run_of(folder, endpoint: str, task: str, rows: list[dict[str, Any]], **generation: Any) -> GenerateRun:
    labels = ("red", "green") if task == "Classification" else ()
    others = [row(f"{split} {number}\nA. yes\nB. no") for split in ("v", "t") for number in range(2)]
    config = {"task": task, "labels": labels}
    return GenerateRun(
        folder, endpoint, rows, others[:2], others[2:], generation={"minSuccessRatio": 0.0, **generation}, config=config
    )


def messages_of(run: GenerateRun, number: int):
    return prompts.run(RunConfig.read(run.config_file), number)


NAME = {"type": "object", "properties": {"name": {"type": "string"}}}
TASKS = {
    "MultipleChoice": ({"chainOfThought": True}, "A", row("Which?\nA. yes\nB. no", system="Choose well.")),
    "Classification": ({"prompts": {"instructions": "Sort by colour."}}, "red", row("A tomato.")),
    "Math": ({"chainOfThought": True, "prompts": {"student": "Add up."}}, "4", row("2 + 2?")),
    "Summarization": ({"language": "de"}, "Kurz.", row("A long text.")),
    "Conversation": ({}, "Hello.", row("Hi.", system="Be brief.")),
    "Extraction": ({"schema": NAME}, '{"name":"Ann"}', row("Ann.")),
    "Text": ({"prompts": {"instructions": "Translate."}}, "Hallo.", row("Hello.")),
}


@pytest.mark.parametrize("task", TASKS)
def test_shown_messages_are_those_of_the_run(tmp_path, task: str):
    generation, answer, first = TASKS[task]
    with TeacherServer(lambda messages: Answer(answer)) as teacher:
        run = run_of(tmp_path, teacher.url, task, [first], **generation)
        shown = messages_of(run, 1)
        assert teacher.requests == []
        run.run()
        sent = [request.body for request in teacher.requests]
    body = next(body for body in sent if first["messages"][-1]["content"] in body["messages"][-1]["content"])
    assert list(shown.teacher) == body["messages"]
    assert shown.parameters == {key: value for key, value in body.items() if key in shown.parameters}
    assert [list(shown.student)] == [learned["prompt"] for learned in run.rows("train")]
    assert (shown.row, shown.rows, shown.id, shown.split, shown.notes) == (1, 5, "train-1", "train", ())


def test_all_that_an_objective_asks_for_is_shown(tmp_path):
    train, others = nli_rows(1), (nli_rows(1, 100), nli_rows(1, 200))
    objective = {"kind": "Logits", "logits": {"topLogprobs": 5}, "rationales": "Auxiliary"}
    with logprobs_teacher(gold_of(train, *others), StudentTokens()) as teacher:
        run = GenerateRun(
            tmp_path,
            teacher.url,
            train,
            *others,
            generation={"chainOfThought": True, "samples": 3, "minSuccessRatio": 0.0},
            config={"training": {"objective": objective}},
        )
        shown, held_out = messages_of(run, 1), messages_of(run, 3)
        assert teacher.requests == []
        run.run()
        sent = [each.body for each in teacher.requests if each.body["messages"] == list(shown.teacher)]
    assert (shown.samples, len(sent)) == (3, 3)
    assert all(body.items() >= shown.parameters.items() for body in sent)
    assert (shown.parameters["logprobs"], shown.parameters["top_logprobs"]) == (True, 5)
    [learned] = run.rows("train")
    assert list(shown.rationale) == rationale_prompt(learned["prompt"])
    assert shown.rationale[0]["content"].startswith("Explain step by step what leads to the right answer")
    assert (held_out.samples, held_out.rationale) == (1, ())


def test_held_out_row_is_shown_as_it_is_evaluated(tmp_path):
    with TeacherServer(lambda messages: Answer("A")) as teacher:
        run = run_of(tmp_path, teacher.url, "MultipleChoice", [row("x\nA. yes\nB. no")], samples=3)
        shown = messages_of(run, 4)
        run.run()
        [sent] = [each.body for each in teacher.requests if each.body["messages"][-1]["content"].startswith("t 0")]
    held_out = run.rows("test")[0]
    assert (shown.split, shown.id) == ("test", "test-1")
    assert (list(shown.teacher), list(shown.student)) == (held_out["teacherPrompt"], held_out["studentPrompt"])
    assert shown.parameters["temperature"] == sent["temperature"] == 0.2


def test_notes_say_what_the_messages_do_not(tmp_path):
    run = run_of(tmp_path, "http://127.0.0.1:9/v1", "Conversation", [row(*TALK), row(*TALK)])
    assert messages_of(run, 1).notes == (
        "The row has 2 turns: each further request has the answers to those before it.",
    )
    assert messages_of(run, 2).notes[0] == (
        "The row is rejected as duplicate before it is sent. The row asks the same as line 1 of the train rows."
    )
    run.data = {"train": {"uri": "train.jsonl", "replies": "Keep"}}
    run.train = [row("Hello.", "Hi.")]
    assert messages_of(run, 1).notes == (
        "The answer in the row is kept (replies: Keep), so the teacher is not asked for it.",
    )


def test_number_beyond_the_last_row_is_refused(tmp_path):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", nli_rows(2), nli_rows(1, 10), nli_rows(1, 20))
    with pytest.raises(
        UserError, match=r"^There is no row 5: the sources have 4 rows\. Give a number from 1 to that\.$"
    ):
        messages_of(run, 5)


def test_personal_data_is_shown_as_it_is_sent(tmp_path):
    redaction = {"redaction": {"kinds": ["EmailAddress"]}}
    run = run_of(tmp_path, "http://127.0.0.1:9/v1", "Text", [row("Write to a.b@example.com.")], **redaction)
    shown = messages_of(run, 1)
    assert shown.teacher[-1]["content"] == "Write to [EMAIL_ADDRESS]."
    assert shown.notes == ("Personal data is replaced (generation.redaction).",)
