"""Checks of rows and answers that need no other model."""

from pathlib import Path

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Rejection, Row
from distillery_trainer.filters.answer_checks import CONTROL_TOKEN, AnswerChecks
from distillery_trainer.tasks import task_for
from generate_run import GenerateRun

ENGLISH = "The river rose by two metres overnight, and the people who live along the old harbour had to leave."
FRENCH = "La rivière est montée de deux mètres pendant la nuit et les habitants du vieux port ont dû partir."
GERMAN = "Der Fluss stieg über Nacht um zwei Meter, und die Leute am alten Hafen mussten ihre Häuser verlassen."


@pytest.fixture
def checks(tmp_path: Path):
    def of(task: str = "NLI", filters: dict | None = None, **generation) -> AnswerChecks:
        generation = {"filters": filters or {}, **generation}
        run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", generation=generation, config={"task": task})
        config = RunConfig.read(run.config_file)
        return AnswerChecks(config, task_for(config))

    return of


def new_row(text: str = "Is it so?", gold: str | list[str] | None = None, system: str | None = None) -> Row:
    before = [{"role": "system", "content": system}] if system else []
    return Row("train", 1, "x", [*before, {"role": "user", "content": text}], gold)


def reason(rejection: Rejection | None) -> str | None:
    return rejection and rejection.reason


# --- empty, long, control tokens


def test_good_answer_passes(checks):
    assert checks().answer_rejection(new_row(), "neutral") is None


def test_answer_of_white_space_is_empty(checks):
    assert checks().answer_rejection(new_row(), " \n") == Rejection("empty", "The answer is empty.")


def test_answer_over_the_limit_is_too_long(checks):
    limited = checks("Conversation", {"maxAnswerWords": 5})
    assert limited.answer_rejection(new_row(), "Only - five words of mine.") is None
    assert limited.answer_rejection(new_row(), "One two three four five six") == Rejection(
        "too_long", "The answer has 6 words; generation.filters.maxAnswerWords allows at most 5."
    )


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|endoftext|>",
        "<|reserved_special_token_3|>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "</s>",
        "<s>",
        "<pad>",
        "<end_of_turn>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
    ],
)
def test_control_token_in_row_or_answer_is_named(checks, token):
    in_row = checks().row_rejection(new_row(f"Say {token} to me."))
    assert in_row == Rejection(
        "special_token", f"The row contains {token}, which a student would read as a control token."
    )
    in_answer = checks("Conversation").answer_rejection(new_row(), f"Gladly: {token}")
    assert reason(in_answer) == "special_token"


@pytest.mark.parametrize(
    "text",
    ["a <|> b", "x |> f <| y", "<strong>bold</strong>", "list[INSTANCE]", "if a<b|c>d", "<section>", "| a | b |"],
)
def test_what_only_looks_like_a_control_token_is_none(text):
    assert CONTROL_TOKEN.search(text) is None


def test_row_without_control_tokens_is_not_rejected(checks):
    assert checks().row_rejection(new_row()) is None


# --- gold


def test_answer_other_than_gold_is_rejected_only_if_required(checks):
    row = new_row(gold="entailment")
    assert checks().answer_rejection(row, "neutral") is None
    supervised = checks(filters={"disagreesWithGold": True})
    assert supervised.answer_rejection(row, "entailment") is None
    assert supervised.answer_rejection(new_row(), "neutral") is None
    assert supervised.answer_rejection(row, "neutral") == Rejection(
        "disagrees_with_gold", "The answer is neutral, but the gold is entailment."
    )


def test_one_of_several_gold_answers_is_enough(checks):
    supervised = checks(filters={"disagreesWithGold": True})
    row = new_row(gold=["entailment", "neutral"])
    assert supervised.answer_rejection(row, "neutral") is None
    assert supervised.answer_rejection(row, "contradiction").message.endswith("but the gold is entailment or neutral.")


def test_prose_is_never_compared_word_for_word_with_gold(checks):
    supervised = checks("Conversation", {"disagreesWithGold": True})
    assert supervised.answer_rejection(new_row(ENGLISH, gold="People left."), ENGLISH) is None


# --- language


def test_answer_in_another_language_than_the_row_is_rejected(checks):
    conversation = checks("Conversation")
    assert conversation.answer_rejection(new_row(ENGLISH), ENGLISH) is None
    assert conversation.answer_rejection(new_row(ENGLISH), FRENCH) == Rejection(
        "wrong_language", "The answer is in French, but the row is in another language."
    )


def test_answer_in_another_language_than_required_is_rejected(checks):
    conversation = checks("Conversation", language="fr-CA")
    assert conversation.answer_rejection(new_row(ENGLISH), FRENCH) is None
    assert conversation.answer_rejection(new_row(ENGLISH), ENGLISH) == Rejection(
        "wrong_language", "The answer is in English, but generation.language is fr-CA."
    )


@pytest.mark.parametrize(
    "row",
    [
        new_row(f"Translate into French: {ENGLISH}"),
        new_row(f"Übersetze das ins Französische: {GERMAN}"),
        new_row(ENGLISH, system="Réponds toujours en français."),
    ],
)
def test_language_that_the_row_mentions_is_not_wrong(checks, row):
    assert checks("Conversation").answer_rejection(row, FRENCH) is None


def test_language_is_not_checked_if_row_or_answer_is_too_short_or_the_filter_is_off(checks):
    assert checks("Conversation").answer_rejection(new_row("Hi"), FRENCH) is None
    assert checks("Conversation").answer_rejection(new_row(ENGLISH), "Oui.") is None
    assert checks("Conversation", {"language": False}).answer_rejection(new_row(ENGLISH), FRENCH) is None


def test_labels_have_no_language(checks):
    assert checks("NLI", language="fr").answer_rejection(new_row(GERMAN), "contradiction") is None


# --- texts of any kind


def test_a_translation_is_in_another_language_than_its_row(checks):
    row = new_row(ENGLISH, system="Give the German version.")
    assert checks("Text").answer_rejection(row, GERMAN) is None
    assert checks("Text", {"language": False}, language="fr").answer_rejection(row, GERMAN) is None


def test_the_language_of_a_text_is_checked_where_it_is_set_or_wanted(checks):
    row = new_row(ENGLISH, system="Give the German version.")
    assert checks("Text", language="fr").answer_rejection(row, GERMAN) == Rejection(
        "wrong_language", "The answer is in German, but generation.language is fr."
    )
    rewritten = new_row(ENGLISH, system="Say it in other words.")
    assert reason(checks("Text", {"language": True}).answer_rejection(rewritten, GERMAN)) == "wrong_language"
    assert reason(checks("Conversation").answer_rejection(rewritten, GERMAN)) == "wrong_language"


def test_answer_under_the_limit_is_too_short(checks):
    limited = checks("Text", {"minAnswerWords": 3, "maxAnswerWords": 3})
    assert limited.answer_rejection(new_row(), "One two three.") is None
    assert limited.answer_rejection(new_row(), "One two.") == Rejection(
        "too_short", "The answer has 2 words; generation.filters.minAnswerWords requires 3."
    )


def test_answer_that_breaks_a_rule_is_rejected(checks):
    ruled = checks("Text", {"answerRules": [{"parsesAs": "JSON"}, {"mustContain": '"id"'}]})
    assert ruled.answer_rejection(new_row(), '{"id": 3}') is None
    assert ruled.answer_rejection(new_row(), '{"no": 3}') == Rejection(
        "breaks_rule", 'The answer does not contain ""id"" (generation.filters.answerRules[1]).'
    )
