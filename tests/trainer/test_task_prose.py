"""The language that is asked for, in summaries and in conversations."""

from dataclasses import replace

from task_definitions import new_row, task_definition

TEXT = "In 2014, Oxford trained 12 models on rows about fish. All of them learnt to swim."


def test_language_is_requested_once_also_in_a_prepared_row():
    prompt = task_definition("Conversation", language="de")
    row = new_row("Hello.")
    prepared = replace(row, messages=prompt.student_messages(row))
    assert prompt.student_messages(prepared) == prompt.student_messages(row)


def test_language_is_part_of_every_prompt():
    german = task_definition("Summarization", language="de", chainOfDensity=True)
    assert german.student_prompt() == (
        "Summarise the text in at most 80 words. Reply with the summary and nothing else.\n\nWrite in German."
    )
    assert german.student_prompt(new_row(TEXT, system="Be brief.")) == "Be brief.\n\nWrite in German."
    assert "Write in German." in german.teacher_messages(new_row(TEXT))[0]["content"]
    own = task_definition("Conversation", language="pt-BR", prompts={"teacher": "Be kind."})
    assert own.teacher_messages(new_row("Hi"))[0]["content"] == "Be kind.\n\nWrite in Portuguese (Brazil)."
