"""Classification: the user's own labels, one or several, in prompts, gold and replies."""

from typing import Any

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.data.row_reader import read_valid_rows
from distillery_trainer.data.sources import sources
from distillery_trainer.parsing.unreadable import Unreadable
from distillery_trainer.tasks import TaskDefinition, task_for
from generate_run import GenerateRun
from task_definitions import new_row, run_config

MOODS = [
    {"name": "positiv", "value": 1, "description": "Der Kunde ist zufrieden,\nauch verhalten."},
    {"name": "negativ", "value": 0},
    "gemischt",
]
TOPICS = ["price", "service", "food and drinks"]


def classification(labels: list[Any], *, several: bool = False, **generation: Any) -> TaskDefinition:
    """The task with these labels as a manifest has them."""
    config = run_config("Classification", **generation).model_dump(mode="json", by_alias=True, exclude_none=True)
    config["data"] |= {"labels": labels, "multiLabel": several}
    config["labels"] = [label["name"] if isinstance(label, dict) else str(label) for label in labels]
    return task_for(RunConfig.model_validate(config))


# --- prompts


def test_student_prompt_lists_the_labels():
    assert classification(["red", "green"]).student_prompt() == (
        "Classify the text. Reply with exactly one of these labels and nothing else: red, green."
    )


def test_what_labels_mean_is_in_the_prompts_of_teacher_and_student():
    listed = ":\n- positiv: Der Kunde ist zufrieden, auch verhalten.\n- negativ\n- gemischt"
    task = classification(MOODS, chainOfThought=True)
    assert task.student_prompt().endswith(f"and nothing else{listed}")
    assert f"Allowed labels{listed}\n\nReply with" in task.teacher_messages(new_row("Schön."))[0]["content"]


def test_labels_with_commas_stand_on_lines_of_their_own():
    assert classification(["food, drinks", "service"]).student_prompt().endswith(":\n- food, drinks\n- service")


def test_teacher_template_asks_for_reasons_and_one_label():
    task = classification(["red", "green"], chainOfThought=True)
    system, user = task.teacher_messages(new_row("A tomato."))
    assert system["content"].startswith("You are a careful assistant who classifies texts.")
    assert '"label": the label, spelled exactly as above' in system["content"]
    assert user["content"] == "<item>\nA tomato.\n</item>"
    assert task.reply_schema()["properties"]["label"] == {"type": "string", "enum": ["red", "green"]}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("reasoned", [False, True])
def test_no_prompt_speaks_of_premise_and_hypothesis(several: bool, reasoned: bool):
    task = classification(TOPICS, several=several, chainOfThought=reasoned)
    messages = [*task.teacher_messages(new_row("Cheap.")), *task.student_messages(new_row("Cheap."))]
    text = " ".join(message["content"] for message in messages).casefold()
    assert [word for word in ("premise", "hypothesis", "entail", "nli") if word in text] == []


def test_a_rows_system_message_without_the_labels_is_completed():
    task = classification(["red", "green"])
    row = new_row("A tomato.", system="Sort by colour: red or blue.")
    expected = (
        "Sort by colour: red or blue.\n\nClassify the text. Reply with exactly one of these labels and nothing else:"
        " red, green."
    )
    assert task.student_messages(row)[0]["content"] == task.teacher_messages(row)[0]["content"] == expected
    assert task.student_messages(new_row("A tomato.", system=expected))[0]["content"] == expected


def test_a_system_message_that_names_the_labels_is_completed_with_what_they_mean():
    words = "Ist die Stimmung positiv, negativ oder gemischt?"
    assert classification(["positiv", "negativ", "gemischt"]).student_prompt(new_row("x", system=words)) == words
    assert "Der Kunde ist zufrieden" in classification(MOODS).student_prompt(new_row("x", system=words))


def test_a_short_student_prompt_stays_short_and_the_teacher_gets_the_labels_with_it():
    task = classification(["red", "green"], prompts={"student": "Name the colour."})
    assert task.student_prompt() == "Name the colour."
    assert task.teacher_messages(new_row("A tomato."))[0]["content"].startswith(
        "Name the colour.\n\nClassify the text."
    )


# --- one label


def test_reply_is_read_as_the_label_that_it_states():
    task = classification(MOODS, chainOfThought=True)
    assert task.read_answer('{"reason": "Lob.", "label": "Positiv"}', "") == "positiv"
    assert task.read_answer("The answer is **negativ**.", "") == "negativ"
    assert isinstance(task.read_answer("positiv oder negativ", ""), Unreadable)


def test_gold_is_the_name_or_the_value_of_a_label():
    task = classification(MOODS)
    assert [task.score("positiv", gold) for gold in ("1", "1.0", "Positiv", "0", ["0", "1"])] == [1, 1, 1, 0, 1]
    assert task.gold_problem("2", new_row("x")) == (
        'the gold label "2" is not one of positiv, negativ, gemischt; correct it or add it to data.labels'
    )


def test_labels_may_be_integers_and_booleans():
    assert classification([0, 1]).gold_problem("1.0", new_row("x")) is None
    assert classification([True, False]).score("true", "True") == 1
    assert classification(["1.0", "1"]).score("1.0", "1.0") == 1


def test_message_about_gold_shows_some_of_many_labels():
    problem = classification([f"intent_{number}" for number in range(150)]).gold_problem("x", new_row("x"))
    assert "intent_19, …; correct it" in problem


def test_rows_with_the_same_text_land_in_the_same_split():
    task = classification(MOODS)
    assert task.split_group(new_row("Sehr  gut")) == task.split_group(new_row("sehr gut"))
    assert task.row_problem(new_row("Eins.", "Zwei.", "Drei.")) == (
        "a row of the task Classification has one user message (an assistant message after it is replaced)"
    )


# --- several labels


def test_student_prompt_of_several_labels_says_how_to_list_them():
    assert classification(TOPICS, several=True).student_prompt() == (
        "Classify the text. Reply with all of these labels that apply, in this order, with a comma between them, and"
        " nothing else; reply none if no label applies: price, service, food and drinks."
    )


def test_the_teacher_replies_with_a_list_of_labels():
    task = classification(TOPICS, several=True, chainOfThought=True)
    assert task.reply_schema()["properties"]["labels"]["items"]["enum"] == TOPICS
    reply = '{"reason": "Cheap, and slow waiters.", "labels": ["service", "price"]}'
    assert task.read_answer(reply, "") == "price, service"
    assert task.read_answer('{"reason": "Nothing.", "labels": []}', "") == "none"
    assert task.vote_key("price, service") == "price, service"


@pytest.mark.parametrize(
    ("gold", "labels"),
    [
        ("price, service", {"price", "service"}),
        ("service|price", {"price", "service"}),
        ("Food and drinks; price", {"price", "food and drinks"}),
        ('["price"]', {"price"}),
        (["price", "service"], {"price", "service"}),
        ("none", set()),
        ("[]", set()),
    ],
)
def test_gold_of_several_labels_is_a_list(gold: str | list[str], labels: set[str]):
    task = classification(TOPICS, several=True)
    assert task.labels_of(gold) == labels
    assert task.score(", ".join(label for label in TOPICS if label in labels) or "none", gold) == 1


def test_gold_of_several_labels_may_be_values():
    task = classification(MOODS, several=True)
    assert [sorted(task.labels_of(gold)) for gold in ("[1, 0]", "1;0", "0.0")] == [
        ["negativ", "positiv"],
        ["negativ", "positiv"],
        ["negativ"],
    ]


@pytest.mark.parametrize("columns", [None, {"prompt": "text", "gold": "topics"}])
def test_an_empty_list_is_gold_without_labels(tmp_path, columns: dict[str, str] | None):
    chat = {"messages": [{"role": "user", "content": "Hm."}], "gold": []}
    record = {"text": "Hm.", "topics": []} if columns else chat
    given = {"uri": "train.jsonl", **({"columns": columns} if columns else {})}
    data = {"train": given, "labels": TOPICS, "multiLabel": True}
    config = {"task": "Classification", "labels": TOPICS}
    run = GenerateRun(tmp_path, "https://teacher.example/v1", [record], data=data, config=config)
    [row] = read_valid_rows(sources(RunConfig.read(run.config_file))[0])
    assert row.gold == "none"


def test_an_answer_is_right_only_with_exactly_the_labels_of_gold():
    task = classification(TOPICS, several=True)
    assert [task.score(answer, "price, service") for answer in ("price, service", "price", "none")] == [1, 0, 0]


def test_gold_with_an_unknown_label_is_named():
    problem = classification(TOPICS, several=True).gold_problem("price, garden", new_row("x"))
    assert problem == (
        'the gold label "price, garden" is not one of price, service, food and drinks; correct it or add it to'
        " data.labels; write several labels as a, b, and no label as none"
    )
