"""Whatever the labels, and whatever is said around them: the label that is said, or unreadable, and never another."""

import json
import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distillery_api.comparable import label_key
from distillery_trainer.parsing.labels import LabelParser
from distillery_trainer.parsing.options import find_options
from distillery_trainer.parsing.unreadable import Unreadable
from task_definitions import task_definition

KNOWN_LABELS = (
    ("entailment", "neutral", "contradiction"),
    ("entailment", "not entailment"),
    ("entailment", "not_entailment"),
    ("positive", "very positive", "negative", "very negative"),
    ("yes", "no", "maybe"),
    ("true", "false"),
    ("A", "B", "C", "D"),
    ("a", "i", "o"),
    ("A", "A*", "B"),
    ("C", "C#", "C++", ".NET", "N/A", "F*"),
    ("++", "+", "-", "--"),
    ("b)", "a)"),
    ("0", "1", "2"),
    ("-1", "0", "1"),
    ("*bold*", "'quoted'", "`code`"),
    ("\u0130ade", "\u0130ptal", "Stra\u00dfe"),
    ("tr\u00e8s bien", "bien"),
    ("\u4e2d\u7acb", "\u8574\u542b", "\u77db\u76fe"),
    ("\u0e1a\u0e27\u0e01", "\u0e25\u0e1a"),
    ("relation", "no relation"),
    ("other", "none", "both"),
)
RANDOM_LABEL = st.text(
    "aAbBcCeiInNoOtTy01.,:;+#*-_/()'\"` \u00e9\u0301\u0130\u0131\u00df\u4e2d\u7acb\u4e0d", min_size=1, max_size=8
).map(str.strip)
RANDOM_LABELS = st.lists(RANDOM_LABEL.filter(label_key), min_size=2, max_size=5, unique_by=label_key).map(tuple)
LABELS = st.sampled_from(KNOWN_LABELS) | RANDOM_LABELS
SAYINGS = (
    "{}",
    "{}.",
    "**{}**",
    '"{}"',
    "({})",
    "`{}`",
    "The answer is {}.",
    "The answer is **{}**.",
    "Answer: {}",
    "**Answer: {}**",
    "**Answer:** {}",
    "Final answer: {}",
    "The correct label is {}",
    "I choose {}.",
    "So the answer is ({}).",
    "\\boxed{{{}}}",
    "\u7b54\u6848\u662f{}\u3002",
    "La respuesta es {}.",
    "<answer>{}</answer>",
    "The premise rains.\n\n{}",
    "{}\n\nExplanation: the sun shines.",
    "{} is correct.",
    "<think>Hm.</think>{}",
    "# {}",
    "- {}",
    "'{}'!",
)
AROUND = st.text("xyz ,.\n", max_size=12)


@settings(deadline=None)
@given(st.data(), LABELS, st.sampled_from(SAYINGS), AROUND, AROUND)
def test_label_that_is_said_is_read_or_nothing_is(data, labels, saying, before, after):
    label = data.draw(st.sampled_from(labels))
    # What stands around says no label itself.
    around = f"{before}\n{after}"
    words = {label_key(word) for word in (*re.split(r"[ ,.\n]+", around), *re.findall(r"[,.]+", around))}
    assume(not words & {*map(label_key, labels)})
    reply = f"{before}\n{saying.format(label)}\n{after}"
    assert_says(LabelParser(labels, "answer_choice").read(reply), label)


@settings(deadline=None)
@given(st.data(), LABELS, st.sampled_from(SAYINGS))
def test_label_is_read_alike_in_all_encodings(data, labels, saying):
    label = data.draw(st.sampled_from(labels))
    change = data.draw(st.sampled_from((str.upper, str.lower, str.title, "\u200b".join)))
    changed = change(label)
    assume(label_key(changed) == label_key(label))
    assert_says(LabelParser(labels, "answer_choice").read(saying.format(changed)), label)


@settings(deadline=None)
@given(st.data(), LABELS)
def test_label_of_a_structured_reply_is_that_label(data, labels):
    label = data.draw(st.sampled_from(labels))
    reply = json.dumps({"reason": " or ".join(labels), "answer_choice": label})
    assert LabelParser(labels, "answer_choice").read(reply) == label


@settings(deadline=None)
@given(st.data(), LABELS)
def test_label_alone_is_that_label(data, labels):
    label = data.draw(st.sampled_from(labels))
    assert LabelParser(labels, "answer_choice").read(f" {label}\n") == label


@settings(deadline=None)
@given(
    st.data(),
    st.sampled_from(KNOWN_LABELS),
    st.sampled_from(
        (
            "The answer is {} or {}.",
            "{} or {}",
            "{}/{}",
            "Either {} or {}",
            "({}) and ({})",
            "{}, {}",
            "Is it {} or {}?",
        )
    ),
)
def test_two_labels_are_no_answer(data, labels, saying):
    one, other = data.draw(st.permutations(labels))[:2]
    reply = saying.format(one, other)
    assume(label_key(reply) not in map(label_key, labels))
    answer = LabelParser(labels, "answer_choice").read(reply)
    assert isinstance(answer, Unreadable), answer


OPTION = (
    st.text("abceinot 0123.,'()", min_size=1, max_size=12).map(str.strip).filter(lambda text: len(label_key(text)) > 1)
)

OPTION_SAYINGS = (
    "{letter}",
    "({letter})",
    "{letter}. {text}",
    "({letter}) {text}",
    "{text}",
    "The answer is {letter}.",
    "Answer: {letter}) {text}",
    "The answer is {text}",
    "{letter}\n\nExplanation: ({other}) is too warm.",
    "{letter}. {text}\n\nExplanation: Options ({other}) and ({another}) are too warm.",
    "({letter}) is right because ({other}) would burn it.",
    "The correct answer is option {letter}.",
    "Not {other}. The answer is {letter}.",
)


@settings(deadline=None)
@given(
    st.lists(OPTION, min_size=2, max_size=5, unique_by=label_key),
    st.sampled_from(OPTION_SAYINGS),
    st.data(),
)
def test_option_that_is_said_is_read_or_nothing_is(texts, saying, data):
    letters = "ABCDE"[: len(texts)]
    prompt = "Which?\n" + "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True))
    assume(list(find_options(prompt)) == list(letters))
    letter = data.draw(st.sampled_from(letters))
    other, another = ([*filter(letter.__ne__, letters)] * 2)[:2]
    reply = saying.format(letter=letter, text=texts[letters.index(letter)], other=other, another=another)
    assert_says(task_definition("MultipleChoice").read_answer(reply, prompt), letter)


def assert_says(answer, label):
    assert answer == label or isinstance(answer, Unreadable), f"{answer!r} instead of {label!r}"
