"""Tool calling: what the teacher is asked, which calls are kept, and what they are worth."""

import json

import numpy
import pytest

from chat_protocol import Answer, last_user_text
from chat_server import TeacherServer
from distillery_api.runtime.tool_call_parser import parser_of
from distillery_api.stage import Stage
from distillery_trainer.data.rows import Row
from distillery_trainer.data.tool_messages import with_tools
from distillery_trainer.evaluation.metrics import breakdown, figures
from distillery_trainer.evaluation.systems import AGREEMENT, ScoredAnswer, System, SystemReply, held_out_rows
from distillery_trainer.filters.deduplication import Deduplication
from generate_run import GenerateRun
from held_out_rows import held_out
from task_definitions import new_row, run_config, task_definition
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun, held_out_row

TASK = task_definition("ToolCalling")
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city"],
}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Rain?", "parameters": PARAMETERS}}
TIME = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
TOOLS = [WEATHER, TIME]


def call(name="weather", **arguments):
    return {"name": name, "arguments": arguments}


def calls(*listed):
    return json.dumps(listed, separators=(",", ":"))


OSLO, ROME = call(city="Oslo"), call(city="Rome")


# --- reading and judging


@pytest.mark.parametrize(
    ("answer", "reason", "message"),
    [
        (
            calls(call("rain", city="Oslo")),
            "unknown_function",
            'The function "rain" is not one of the tools (weather, time).',
        ),
        (calls(OSLO, call(city=3)), "bad_arguments", "do not fit the schema: weather.city: 3 is not of type 'string'."),
        (calls(call()), "bad_arguments", "do not fit the schema: weather: 'city' is a required property."),
        (calls(call(city="A", days=[1, "x"])), "bad_arguments", "weather.days[1]: 'x' is not of type 'integer'."),
    ],
)
def test_call_that_cannot_be_carried_out_is_unsuitable(answer, reason, message):
    found = TASK.unsuitable(answer, with_tools([{"role": "user", "content": "a"}], TOOLS))
    assert (found.reason, message in found.message) == (reason, True)


@pytest.mark.parametrize("answer", [calls(OSLO, ROME), calls(call("time")), "I cannot know."])
def test_calls_that_fit_and_words_are_suitable(answer):
    assert TASK.unsuitable(answer, with_tools([{"role": "user", "content": "a"}], TOOLS)) is None


def test_schema_that_refers_to_another_address_is_not_fetched():
    parameters = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    prompt = with_tools([{"role": "user", "content": "a"}], [tool])
    assert TASK.unsuitable(calls(call("f", a=1)), prompt) is None


def test_samples_agree_on_the_same_calls_in_any_order():
    assert TASK.vote_key(calls(OSLO, call(city="A", days=[1]))) == TASK.vote_key(
        calls(call(days=[1.0], city="A"), OSLO)
    )
    assert TASK.vote_key("I cannot.") == TASK.vote_key("No tool fits.") != TASK.vote_key(calls(OSLO))


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [
        (calls(ROME, OSLO), calls(OSLO, ROME), 1),
        (calls(OSLO), calls(OSLO, ROME), 0),
        (calls(call(city="oslo ")), [calls(ROME), calls(OSLO)], 1),
        ("I cannot know.", "[]", 1),
        (calls(OSLO), "[]", 0),
        ("I cannot know.", calls(OSLO), 0),
        (
            calls(call(city="Oslo, Norway")),
            '{"tool_calls":[],"acceptable":[{"weather":{"city":["Oslo","Oslo, Norway"]}}]}',
            1,
        ),
    ],
)
def test_score(answer, gold, score):
    assert TASK.score(answer, gold) == score


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (new_row("a"), 'a row of the task ToolCalling has tools; add "tools", or remove the row'),
        (
            Row("train", 1, "a", [], gold=calls(call("rain")), tools=TOOLS),
            'gold: The function "rain" is not one of the',
        ),
        (Row("train", 1, "a", [], gold=calls(call(city=1)), tools=TOOLS), "gold: The arguments do not fit the schema"),
    ],
)
def test_invalid_row(row, problem):
    assert TASK.row_problem(row).startswith(problem)


def test_rows_that_differ_in_tools_or_results_are_no_duplicates():
    rain = [{"role": "user", "content": "Rain?"}]
    answered = [
        *rain,
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "type": "function", "function": OSLO}]},
    ]
    rows = [
        Row("train", 1, "1", rain, tools=[WEATHER]),
        Row("train", 2, "2", rain, tools=TOOLS),
        Row("train", 3, "3", [*answered, {"role": "tool", "content": "wet", "tool_call_id": "a"}], tools=TOOLS),
        Row("train", 4, "4", [*answered, {"role": "tool", "content": "dry", "tool_call_id": "a"}], tools=TOOLS),
        Row("train", 5, "5", rain, tools=TOOLS),
    ]
    found = Deduplication(run_config("ToolCalling"))
    for row in rows:
        found.add(row)
    found.resolve(numpy.zeros(len(rows), dtype=numpy.uint8))
    assert [found.rejection(index) is not None for index in range(len(rows))] == [False, False, False, False, True]


# --- in the generate stage


def row(number, text="Rain in Oslo?", **extra):
    return {"messages": [{"role": "user", "content": f"{text} {number}"}], "tools": TOOLS, **extra}


def multi_turn(number):
    made = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bergen"}'}}
    messages = [
        {"role": "user", "content": f"Rain in Bergen? {number}"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "x", "content": "wet"},
    ]
    return {"messages": messages, "tools": TOOLS}


def run_stage(tmp_path, teacher, train, **generation):
    run = GenerateRun(
        tmp_path,
        teacher.url,
        train=train,
        validation=[row(100)],
        test=[row(200, gold={"tool_calls": [OSLO]})],
        generation={"minRows": 1, "minSuccessRatio": 0, **generation},
        config={"task": "ToolCalling", "labels": ()},
    )
    run.run()
    return run


def test_teacher_gets_the_tools_and_its_calls_are_learnt(tmp_path):
    def answer(messages):
        if messages[-1]["role"] == "tool":
            return Answer("It is wet.")
        return Answer(calls(OSLO, ROME) if "Oslo" in last_user_text(messages) else "I cannot know.")

    with TeacherServer(answer) as teacher:
        run = run_stage(tmp_path, teacher, [row(1), multi_turn(2), row(3, "Who are you?")])
        bodies = [request.body for request in teacher.requests]
    assert all(body["tools"] == TOOLS and body["tool_choice"] == "auto" for body in bodies)
    after_result = next(body["messages"] for body in bodies if body["messages"][-1]["role"] == "tool")
    assert after_result[-2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Bergen"}'}
    assert after_result[-1] == {
        "role": "tool",
        "content": "wet",
        "tool_call_id": after_result[-2]["tool_calls"][0]["id"],
    }

    learnt = [(row["tools"], row["completion"][0]) for row in run.rows("train")]
    assert all(tools == TOOLS for tools, _ in learnt)
    [called, first_turn, second_turn, words] = [answer for _, answer in learnt]
    assert called == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call00001", "type": "function", "function": OSLO},
            {"id": "call00002", "type": "function", "function": ROME},
        ],
    }
    assert (first_turn["content"], second_turn["content"], words["content"]) == (
        "I cannot know.",
        "It is wet.",
        "I cannot know.",
    )
    [held] = run.rows("test")
    assert (held["answer"], held["gold"]) == (calls(OSLO, ROME), calls(OSLO))
    assert held["studentPrompt"][0]["tools"] == TOOLS


def test_call_that_does_not_fit_is_requested_again_and_rejected_with_its_path(tmp_path):
    def answer(messages):
        text = last_user_text(messages)
        if "cannot be used" in text:
            return Answer(calls(OSLO) if "'city' is a required" in text else calls(call(city=5)))
        return Answer(calls(call()) if "Oslo? 1" in text else calls(call("rain")) if "Oslo? 2" in text else calls(OSLO))

    with TeacherServer(answer) as teacher:
        run = run_stage(tmp_path, teacher, [row(1), row(2), row(3)])
    assert [kept["id"] for kept in run.rows("train")] == ["train-1", "train-3"]
    [rejected] = run.rows("rejected")
    assert (rejected["reason"], rejected["message"]) == (
        "bad_arguments",
        "The arguments do not fit the schema: weather.city: 5 is not of type 'string'.",
    )


def test_calls_that_disagree_with_gold_are_rejected(tmp_path):
    with TeacherServer(lambda messages: Answer(calls(OSLO))) as teacher:
        rows = [row(1, gold={"tool_calls": [ROME]}), row(2, gold={"tool_calls": [OSLO]})]
        run = run_stage(tmp_path, teacher, rows, filters={"disagreesWithGold": True})
    assert [rejected["reason"] for rejected in run.rows("rejected")] == ["disagrees_with_gold"]


def test_rows_with_tools_are_refused_for_other_tasks_by_the_name_of_the_task(tmp_path):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=[row(1)], config={"task": "Conversation", "labels": ()})
    run.run()
    assert "line 1: the row has tools, which only the task ToolCalling calls; set task to it" in run.result.message


# --- figures


def test_figures_and_functions():
    rows = held_out_rows(
        [
            held_out("1", calls(OSLO, ROME)),
            held_out("2", calls(call(city="A", days=[1]))),
            held_out("3", calls(call("time"))),
            held_out("4", "[]"),
            held_out("5", "[]"),
        ],
        TASK.metric,
    )
    for held in rows.rows:
        held.studentPrompt[0]["tools"] = TOOLS
    answers = [
        calls(ROME, OSLO),
        calls(call(city="A", days=[2])),
        "I cannot.",
        "I cannot.",
        calls(call("rain", city="A")),
    ]
    scored = [
        ScoredAnswer(SystemReply(answer), answer, TASK.score(answer, reference))
        for answer, reference in zip(answers, rows.references, strict=True)
    ]
    found = figures(TASK, scored, rows)
    names = ("score", "functions", "argument_f1", "no_call_precision", "no_call_recall", "valid_calls")
    assert {name: round(value, 4) for name, value in found.items() if name in names} == {
        "score": 0.4,
        "functions": 0.6,
        "argument_f1": 0.6667,
        "no_call_precision": 0.5,
        "no_call_recall": 0.5,
        "valid_calls": 0.6667,
    }
    table = breakdown(TASK, {System.STUDENT: scored}, rows)
    [weather, time] = table.systems["student"].parts
    assert (table.part, weather.name, weather.rows, weather.f1) == ("function", "weather", 2, 1.0)
    assert (time.name, time.rows, time.recall) == ("time", 1, 0.0)


def test_without_gold_the_calls_of_the_teacher_are_the_reference():
    rows = held_out_rows([held_out("1", None, calls(OSLO)), held_out("2", None, "I cannot.")], TASK.metric)
    assert rows.metric == AGREEMENT
    assert [TASK.score(calls(OSLO), reference) for reference in rows.references] == [1, 0]


# --- a student


def test_student_is_trained_on_calls_and_evaluated(tmp_path):
    """In the Hermes form, since the template of the tiny model knows no tools."""
    folder = write_tiny_model(tmp_path / "base")
    chat = [{"role": "system", "content": "Call."}, {"role": "user", "content": "Rain in Oslo?"}]
    called = [{"id": "call00001", "type": "function", "function": OSLO}]
    answer = {"role": "assistant", "content": "", "tool_calls": called}
    kept = [{"id": f"{n}", "prompt": chat, "completion": [answer], "teacher": "t", "tools": TOOLS} for n in range(4)]
    prompt = with_tools(chat, TOOLS)
    held = [
        held_out_row(n, gold, studentPrompt=prompt, teacherPrompt=prompt, reply=calls(OSLO), answer=calls(OSLO))
        for n, gold in enumerate((calls(OSLO), "[]"))
    ]
    run = TrainEvaluateRun(
        tmp_path,
        folder,
        train=kept,
        validation=kept[:1],
        test=held,
        task="ToolCalling",
        labels=(),
        tool_format="Hermes",
        generation={"sampling": {"maxTokens": 8}},
        training={"maxLength": 1024, "batchSize": 4},
    )
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        process = run.start(stage)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    template = (run.folder(Stage.TRAIN) / "model" / "chat_template.jinja").read_text()
    assert parser_of(template) == "hermes"
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.teacher.score, table.teacher.functions, table.teacher.valid_calls) == (0.5, 0.5, 1.0)
    assert (table.majority.score, table.student.strict) == (0.5, None)
    assert (run.folder(Stage.EVALUATE) / "breakdown.json").exists()
