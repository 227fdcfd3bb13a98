"""The one parser for all models: which label stands in a reply."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing.json_replies import first_json_object
from distillery_trainer.parsing.labels import LabelParser
from distillery_trainer.tasks import Unreadable

LABELS = ("entailment", "neutral", "contradiction")
PARSER = LabelParser(LABELS, "answer_choice")
LETTERS = LabelParser(("A", "B", "C", "D", "E"), "answer_choice")
NEGATED = LabelParser(("entailment", "not entailment"), "answer_choice")
NEGATIONS = (
    "not", "Not a", "no", "non", "never", "neither", "without", "cannot be", "can't be", "can\u2019t be", "isn't",
    "It isn't an", "It doesn\u2019t amount to", "It won't be", "It wouldn't be a", "They aren't", "There is no",
    "It is not, in my view, a", "There is no sign of any", "I do not think it is", "I don't believe that this is",
    "I see no evidence that it is", "Nothing makes it", "It is not an obvious", "rather than", "instead of",
    "anything but",
)  # fmt: skip


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


@pytest.mark.parametrize(
    ("labels", "reply", "label"),
    [
        (("C", "C#", "C++"), "**C#**", "C#"),
        (("C", "C#", "C++"), "The answer is C++.", "C++"),
        (("A", "A*", "B"), "**A***", "A*"),
        (("A", "A*", "B"), "**A**", "A"),
        (("\u0130ade", "\u0130ptal"), "iptal", "\u0130ptal"),
        (("\u0130ade", "\u0130ptal"), "Cevap: \u0131ade", "\u0130ade"),
        (("Stra\u00dfe", "Weg"), "STRASSE", "Stra\u00dfe"),
        (("\u4e2d\u7acb", "\u8574\u542b", "\u77db\u76fe"), "\u7b54\u6848\u662f\u4e2d\u7acb\u3002", "\u4e2d\u7acb"),
        (("tr\u00e8s bien", "bien"), "tr\u00e8s bien", "tr\u00e8s bien"),
        (("tr\u00e8s bien", "bien"), "tre\u0300s bien", "tr\u00e8s bien"),
        (("-1", "0", "1"), "The answer is \u22121.", "-1"),
        ((".NET", "NET"), ".NET", ".NET"),
        (("N/A", "yes"), "n/a", "N/A"),
        (("b)", "a)"), "b", "b)"),
    ],
)
def test_characters_of_a_label_count_and_encodings_do_not(labels, reply, label):
    assert LabelParser(labels, "answer_choice").read(reply) == label


@pytest.mark.parametrize(
    ("labels", "reply"),
    [
        (("C", "D"), "C#"),
        (("C", "C++"), "C#"),
        (("A", "B"), "The answer is A or B."),
        (("1", "2"), "-1"),
        (("5", "6"), "5.5"),
        (("yes", "no"), "There is no way to know."),
        (("yes", "no", "maybe"), "Yes, but no."),
        (("yes", "no", "maybe"), "Maybe not."),
        (LABELS, "It's almost a contradiction."),
        (LABELS, "It lacks entailment."),
        (LABELS, "Entailment: false"),
        (LABELS, "Contradiction is absent."),
        (LABELS, "My first guess was neutral."),
        (LABELS, "The premise is neutral about it, but the hypothesis contradicts it."),
        (("A", "B", "C"), "A: 10%, B: 85%, C: 5%"),
        (("A", "B", "C"), "1. A\n2. B"),
        (("A", "B", "C"), "Option A\nOption B\nOption C"),
        (("A", "B", "C"), "As stated in (A), milk is white."),
        (("A", "B", "C"), "I refuse to choose B."),
        (LABELS, "If it said so, this would be entailment."),
        (LABELS, "To be a contradiction, the premise would have to deny it."),
        (LABELS, "Is it neutral?"),
        (LABELS, "Das ist kein neutral."),
        (("\u4e2d\u7acb", "\u8574\u542b"), "\u8fd9\u4e0d\u662f\u8574\u542b\u3002"),
        (("\u4e2d\u7acb", "\u8574\u542b"), "\u4e2d\u7acb\u3067\u306f\u306a\u3044"),
        (("\u0e1a\u0e27\u0e01", "\u0e25\u0e1a"), "\u0e44\u0e21\u0e48\u0e43\u0e0a\u0e48\u0e1a\u0e27\u0e01"),
    ],
)
def test_reply_that_only_resembles_an_answer_is_unreadable(labels, reply):
    assert isinstance(LabelParser(labels, "answer_choice").read(reply), Unreadable)


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Neutral. It is no entailment, and no contradiction either.", "neutral"),
        ("The answer is neutral. Wait, no: the premise denies it. The answer is contradiction.", "contradiction"),
        ("\\boxed{\\text{neutral}}", "neutral"),
        ("Choose from entailment, neutral, contradiction.\nneutral", "neutral"),
    ],
)
def test_what_is_stated_beats_what_is_mentioned(reply, label):
    assert PARSER.read(reply) == label


@pytest.mark.parametrize(
    "reply", ["Answer: neutral\nAnswer: entailment", "The answer is neutral. Hmm, that's wrong.", "neutral/entailment"]
)
def test_reply_that_states_several_labels_or_takes_one_back_is_unreadable(reply):
    assert PARSER.read(reply).reason == "several_labels"


def test_letter_in_prose_is_an_article_not_a_choice():
    assert LETTERS.read("A man reads.").reason == "label_not_allowed"


@pytest.mark.parametrize("degree", ["less", "the least", "partly", "only partially", "semi", "half"])
def test_a_degree_of_a_label_is_not_that_label(degree):
    assert isinstance(PARSER.read(f"The pair is {degree} neutral."), Unreadable)


@pytest.mark.parametrize(
    "reply",
    [
        "The answer is unlikely to be entailment.",
        "It is unlikely to be a contradiction.",
        "There is insufficient evidence for entailment.",
        "There is little support for entailment.",
        "I doubt that this is a contradiction.",
        "I doubt it is neutral.",
        "I strongly doubt this is neutral.",
        "I disagree that this is neutral.",
        "It would be wrong to answer entailment.",
        "It is incorrect to conclude entailment.",
        "It would be a stretch to call this entailment.",
        "It's hard to see this as entailment.",
        "This is a far cry from entailment.",
        "Few would call this entailment.",
        "Nobody would say entailment.",
        "No one would say this is entailment.",
        "I reject entailment.",
        "We dismiss neutral.",
        "Rejected: entailment",
        "Eliminated: neutral",
        "incorrect: neutral",
        "The previous answer, entailment, is wrong.",
        "Entailment, no.",
        "Tempting as it is, entailment overreaches.",
        "A false entailment.",
    ],
)
def test_label_that_is_doubted_or_denied_is_no_answer(reply):
    assert PARSER.read(reply).reason == "negated_label"


@pytest.mark.parametrize(
    ("labels", "reply"),
    [
        (LABELS, "entailment (or neutral)"),
        (LABELS, "neutral \u2192 entailment"),
        (LABELS, "neutral -> entailment"),
        (LABELS, "A naive reader would answer entailment."),
        (LABELS, "Example: entailment"),
        (LABELS, "This would be a contradiction if \u2026"),
        (("positive", "negative"), "false positive"),
        (("A", "B", "C"), "A->B"),
        (("A", "B", "C"), "A => C"),
        (("A", "B", "C"), "I doubt it is B."),
        (("A", "B", "C"), "Cross off (A)."),
    ],
)
def test_alternatives_examples_and_opinions_of_others_are_unreadable(labels, reply):
    assert isinstance(LabelParser(labels, "answer_choice").read(reply), Unreadable)


@pytest.mark.parametrize("reply", ["No, it is not.", "No, it isn't.", "No, he does not.", "No, they cannot!"])
def test_negation_that_repeats_the_label_no_is_that_label(reply):
    assert LabelParser(("yes", "no"), "answer_choice").read(reply) == "no"


@pytest.mark.parametrize(
    "reply",
    [
        "The statement is false: neutral",
        "It is hard to tell, so neutral.",
        "There is insufficient evidence: neutral",
        "There is no doubt that this is neutral.",
        "That is unlikely, so the answer is neutral.",
        "It is impossible to know (neutral).",
        "The premise rejects nothing of it, so it is neutral.",
    ],
)
def test_doubt_of_something_else_does_not_deny_the_label(reply):
    assert PARSER.read(reply) == "neutral"


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


@pytest.mark.parametrize(
    ("labels", "reply", "label"),
    [
        (("yes", "no"), "The answer is no.", "no"),
        (("yes", "no"), "The answer is yes, not no.", "yes"),
        (("yes", "no"), "Answer: no, it does not.", "no"),
        (("entailment", "not_entailment"), "The answer is not_entailment", "not_entailment"),
        (("spam", "not spam"), "This is not spam.", "not spam"),
        (("spam", "not spam"), "The answer is: not spam", "not spam"),
        (("relation", "no relation"), "There is no relation here.", "no relation"),
        (("relation", "no relation"), "The answer is no relation", "no relation"),
        (("toxic", "non-toxic"), "This is (non-toxic).", "non-toxic"),
        (("toxic", "non-toxic"), "The answer is non-toxic.", "non-toxic"),
    ],
)
def test_label_that_contains_a_negation_is_that_label(labels, reply, label):
    assert LabelParser(labels, "answer_choice").read(reply) == label


@pytest.mark.parametrize(
    ("labels", "reply"),
    [
        (("entailment", "not_entailment"), "It is not entailment."),
        (("spam", "not spam"), "This isn't spam."),
        (("relation", "no relation"), "It is not no relation."),
        (("toxic", "non-toxic"), "It is not non-toxic."),
    ],
)
def test_negation_that_is_no_part_of_a_label_negates_it(labels, reply):
    assert LabelParser(labels, "answer_choice").read(reply).reason == "negated_label"


@pytest.mark.parametrize(
    "reply",
    [
        "There is no contradiction between them.",
        '{"reason": "x", "answer_choice": "no contradiction"}',
        "It isn't an obvious contradiction.",
        "It isn\u2019t an obvious contradiction.",
        "It is n't a contradiction.",
        "It is not a clear, direct contradiction.",
        "non-entailment",
        "non entailment",
        "The answer is 'no contradiction'.",
        "The answer is clearly not neutral.",
        "The answer is not: neutral",
        "It is not a\ncontradiction.",
        "I do not think the answer is neutral.",
        "There is no evidence that this is entailment.",
        "It does not contradict the premise, nor is it entailment.",
        "It is not (neutral).",
        "Entailment does not hold.",
        "Contradiction is not the right label.",
        "I thought the answer is neutral, but the answer is not neutral.",
    ],
)
def test_negated_label_is_no_answer(reply):
    assert PARSER.read(reply).reason == "negated_label"


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("The answer is no, contradiction.", "contradiction"),
        ("The answer is no: neutral", "neutral"),
        ("No, this is a contradiction.", "contradiction"),
        ("No it is a contradiction.", "contradiction"),
        ("It does not follow; the answer is neutral.", "neutral"),
        ("I do not think so. Entailment.", "entailment"),
        ("There is no doubt: contradiction", "contradiction"),
        ("No doubt, it is a contradiction.", "contradiction"),
        ("There is no doubt that it is a contradiction.", "contradiction"),
        ("The premise does not mention age, so it is neutral.", "neutral"),
        ("The premise does not mention age so it is neutral.", "neutral"),
        ("The premise does not mention age\nneutral", "neutral"),
        ("It is not stated - neutral", "neutral"),
        ("It is not stated (neutral).", "neutral"),
        ("Since the premise does not mention it the answer is neutral.", "neutral"),
        ("Without more information it is neutral.", "neutral"),
        ("The claim that he is not at home is a contradiction.", "contradiction"),
        ("Saying that he didn't sleep is a contradiction.", "contradiction"),
        ("This is a contradiction because he cannot be there.", "contradiction"),
        ("The cat sees a contradiction.", "contradiction"),
    ],
)
def test_negation_of_something_else_does_not_negate_the_label(reply, label):
    assert PARSER.read(reply) == label


@pytest.mark.parametrize(
    "reply",
    [
        "neither (A), (B), nor (C)",
        "It is not option (A).",
        "It's not the oven (A).",
        "I wouldn't choose (A).",
        "I don't think the answer is (A).",
        "(A) is not the right answer.",
        "The answer is not B.",
        "The answer is not: B",
        "The answer is (A)? No, it is not (A).",
    ],
)
def test_reply_whose_stated_letters_are_all_negated_is_unreadable(reply):
    assert LETTERS.read(reply).reason == "negated_label"


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The right option is B, not (A).", "B"),
        ("neither (A) nor (B), so C", "C"),
        ("C, since it cannot be (D)", "C"),
        ("(B), not (A)", "B"),
        ("(B) rather than (A)", "B"),
        ("not (A) but (B)", "B"),
        ("It is not (A), it is (B).", "B"),
        ("Not sure, but (B)", "B"),
        ("The answer is (B), because it cannot be (A).", "B"),
        ("(B) is right, (A) isn't the answer.", "B"),
        ("It must be (C) since it isn't (A), and is never (B).", "C"),
        ("The answer is not (A). Wait, it is (A).", "A"),
        ("Cannot be determined (C)", "C"),
        ("Not enough information (B)", "B"),
        ("None of the above (D)", "D"),
        ("The man did not go home (B).", "B"),
        ("The one that is not a mammal is (B).", "B"),
        ("(B) does not burn", "B"),
    ],
)
def test_last_stated_letter_that_is_not_negated_is_the_answer(reply, letter):
    assert LETTERS.read(reply) == letter


@given(st.sampled_from(NEGATIONS), st.sampled_from(LABELS), st.sampled_from(("{}", "{}.", "**{}**", '"{}"', "{} here")))
def test_label_after_a_negation_is_never_the_answer(negation, label, form):
    assert PARSER.read(f"{negation} {form.format(label)}").reason == "negated_label"


@given(
    st.sampled_from(NEGATIONS), st.sampled_from("ABCDE"), st.sampled_from(("({})", "({}).", "**({})**", "option ({})"))
)
def test_bracket_after_a_negation_is_never_the_answer(negation, letter, form):
    assert isinstance(LETTERS.read(f"{negation} {form.format(letter)}"), Unreadable)


@given(
    st.sampled_from(NEGATIONS),
    st.sampled_from(LABELS),
    st.sampled_from((". ", "; ", ": ", ", so ", ", but ", " so it is ")),
)
def test_negation_of_another_clause_does_not_negate(negation, label, end):
    assert PARSER.read(f"{negation} match{end}{label}") == label


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
