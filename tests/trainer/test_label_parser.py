"""The one parser for all models: which label stands in a reply."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.prompts import Unreadable
from distillery_trainer.prompts.labels import LabelParser
from distillery_trainer.prompts.replies import first_json_object, without_thoughts

LABELS = ("entailment", "neutral", "contradiction")
PARSER = LabelParser(LABELS, "answer_choice")
LETTERS = LabelParser(("A", "B", "C"), "answer_choice")
NEGATED = LabelParser(("entailment", "not entailment"), "answer_choice")


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("neutral", "neutral"),
        ("  Neutral.\n", "neutral"),
        ("**ENTAILMENT**", "entailment"),
        ('"contradiction"', "contradiction"),
        ("\u201cneutral\u201d", "neutral"),
        ("The answer is contradiction.", "contradiction"),
        ("Answer: neutral", "neutral"),
        ("I first thought the answer is neutral, but the answer is entailment.", "entailment"),
        ("Not entailment, so it is (neutral).", "neutral"),
        ("The final answer is: **entailment**, not neutral.", "entailment"),
        ("It follows, so this is entailment.", "entailment"),
        ("Entailment! Clearly entailment.", "entailment"),
        ('{"reason": "It is {odd}, \\"neutral\\".", "answer_choice": "contradiction"}', "contradiction"),
        ('Sure!\n```json\n{"reason": "x", "answer_choice": "Neutral"}\n```\nDone.', "neutral"),
        ("```\nneutral\n```", "neutral"),
        ('{"reason": "x", "answer_choice": "The answer is neutral"}', "neutral"),
        ('{"reason": "She said "yes" twice", "answer_choice": "neutral"}', "neutral"),
        ("{'reason': 'x', 'answer_choice': 'neutral',}", "neutral"),
        ('{reason: "x", answer_choice: "neutral"}', "neutral"),
        ('[{"reason": "x", "answer_choice": "neutral"}]', "neutral"),
        ('{"item": 1} is the item. {"reason": "x", "answer_choice": "neutral"}', "neutral"),
        ("<think>entailment? neutral?</think>contradiction", "contradiction"),
        ("entailment? neutral?</think>contradiction", "contradiction"),
    ],
)
def test_reply_with_one_clear_answer(reply, label):
    assert PARSER.read(reply) == label


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>neutral, because", "empty"),
        ("sideways", "label_not_allowed"),
        ("The hypothesis contradicts the premise.", "label_not_allowed"),
        ("neutral or entailment", "several_labels"),
        ("entailment, not neutral", "several_labels"),
        ("It is not neutral.", "negated_label"),
        ("This isn't a contradiction", "negated_label"),
        ("The answer is not neutral.", "negated_label"),
        ("neutrality", "label_not_allowed"),
        ('{"reason": "entailment', "bad_json"),
        ('{"reason": "entailment"}', "bad_json"),
        ('```json\n{"answer_choice": "neutral"', "bad_json"),
        ('{"reason": "x", "answer_choice": "sideways"}', "label_not_allowed"),
        ('{"reason": "x", "answer_choice": ["neutral"]}', "label_not_allowed"),
        ('{"reason": "neutral", "answer_choice": ""}', "empty"),
        ('{"reason": "x", "answer_choice": "neutral or entailment"}', "several_labels"),
    ],
)
def test_reply_without_one_clear_answer(reply, reason):
    answer = PARSER.read(reply)
    assert isinstance(answer, Unreadable)
    assert answer.reason == reason
    assert answer.message.endswith(".")


@pytest.mark.parametrize(("reply", "label"), [("B", "B"), ("(b)", "B"), ("B.", "B"), ("The answer is C", "C")])
def test_letter_as_the_whole_reply_or_as_the_stated_answer(reply, label):
    assert LETTERS.read(reply) == label


def test_label_without_quotes():
    assert LabelParser(("true", "false"), "answer_choice").read('{"answer_choice": true}') == "true"
    assert LabelParser(("1", "2"), "answer_choice").read('{"answer_choice": 2}') == "2"


def test_letter_in_prose_is_an_article_not_a_choice():
    assert LETTERS.read("A man reads.").reason == "label_not_allowed"


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("not entailment", "not entailment"),
        ("It is not entailment here", "not entailment"),
        ("The answer is not\nentailment", "not entailment"),
        ("This is entailment", "entailment"),
    ],
)
def test_label_that_begins_with_not_is_no_negation(reply, label):
    assert NEGATED.read(reply) == label


@given(st.text())
def test_any_text_is_a_label_or_unreadable(text):
    answer = PARSER.read(text)
    assert answer in LABELS or isinstance(answer, Unreadable)


@given(reason=st.text(), label=st.sampled_from(LABELS), before=st.text(alphabet="abc .\n"), after=st.text(max_size=20))
def test_structured_reply_is_read_whatever_its_reason_and_surroundings(reason, label, before, after):
    reply = json.dumps({"reason": reason.replace("think>", ""), "answer_choice": label}, ensure_ascii=False)
    assert PARSER.read(before + reply + after.replace("think>", "")) == label


@given(reason=st.text(), label=st.sampled_from(LABELS), share=st.floats(0, 0.99))
def test_structured_reply_that_is_cut_anywhere_is_never_an_answer(reason, label, share):
    whole = json.dumps({"reason": reason, "answer_choice": label})
    assert isinstance(PARSER.read(whole[: max(1, int(len(whole) * share))]), Unreadable)


@given(st.dictionaries(st.text(max_size=5), st.text() | st.integers(0, 9), max_size=4))
def test_first_json_object_is_found(value):
    assert first_json_object("Here: " + json.dumps(value) + " {and} more") == value


def test_unclosed_object_is_none():
    assert first_json_object('{"a": {"b": 1}') is None
    assert first_json_object("no object") is None


def test_text_without_thoughts_stays_as_it_is():
    assert without_thoughts(" a < b ") == " a < b "
