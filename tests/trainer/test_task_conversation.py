"""Conversation: turns, histories, prompts, replies."""

from distillery_trainer.tasks import StudentTurn
from task_definitions import new_row, task_definition

TALK = task_definition("Conversation")


DIALOGUE = new_row("Hi.", "Hello!", "A table?", "Where?", "In Rome.", system="Book tables.")


def roles_and_texts(messages: list[dict[str, str]]) -> str:
    return " ".join(f"{message['role'][0]}:{message['content']}" for message in messages)


def test_turns_are_requested_in_order_after_the_teachers_own_answers():
    requested = [TALK.next_request(DIALOGUE, ["one", "two", "three"][:turn]) for turn in range(4)]
    assert [roles_and_texts(messages) for messages in requested[:3]] == [
        "s:Book tables. u:Hi.",
        "s:Book tables. u:Hi. a:one u:A table?",
        "s:Book tables. u:Hi. a:one u:A table? a:two u:In Rome.",
    ]
    assert requested[3] is None


def test_original_history_keeps_the_answers_of_the_row():
    talk = task_definition("Conversation", history="Original")
    requested = [talk.next_request(DIALOGUE, ["one", "two"][:turn]) for turn in range(3)]
    assert roles_and_texts(requested[2]) == "s:Book tables. u:Hi. a:Hello! u:A table? a:Where? u:In Rome."
    turns = talk.student_turns(DIALOGUE, ["one", "two", "three"])
    assert roles_and_texts(turns[1].prompt) == "s:Book tables. u:Hi. a:Hello! u:A table?"


def test_student_learns_every_turn_after_what_the_teacher_saw():
    turns = TALK.student_turns(DIALOGUE, ["one", "two", "three"])
    assert [turn.completion for turn in turns] == ["one", "two", "three"]
    assert roles_and_texts(turns[2].prompt) == "s:Book tables. u:Hi. a:one u:A table? a:two u:In Rome."


def test_one_turn_is_a_conversation():
    assert TALK.next_request(new_row("Hi."), ["Hello."]) is None
    assert TALK.student_turns(new_row("Hi."), ["Hello."]) == [
        StudentTurn(
            [
                {
                    "role": "system",
                    "content": "You are a helpful assistant. Answer the user's last message, in the language of that"
                    " message.",
                },
                {"role": "user", "content": "Hi."},
            ],
            "Hello.",
        )
    ]


def test_teachers_own_prompt_is_not_the_students():
    talk = task_definition("Conversation", prompts={"teacher": "Think first.", "student": "Be short."})
    assert roles_and_texts(talk.next_request(DIALOGUE, ["one"])) == "s:Think first. u:Hi. a:one u:A table?"
    assert roles_and_texts(talk.student_turns(DIALOGUE, ["one"])[0].prompt) == "s:Be short. u:Hi."


def test_reply_keeps_its_formatting_and_loses_its_reasoning():
    assert TALK.read_answer("<think>hm</think>\n\n- one\n\n- two\n", "Hi.") == "- one\n\n- two"
    assert TALK.read_answer(' {"a": 1} ', "Hi.") == '{"a": 1}'
    assert TALK.read_answer(" \n", "Hi.").reason == "empty"


def test_parts_of_one_dialogue_are_one_group():
    assert TALK.split_group(DIALOGUE) == TALK.split_group(new_row("hi. ")) == "hi."
    assert TALK.row_problem(DIALOGUE) is None
    assert (TALK.max_tokens, TALK.student_max_answer_tokens) == (1024, 1024)
