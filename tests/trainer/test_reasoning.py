"""Reasoning and answer are separated by the marks around the reasoning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing.reasoning import split_reasoning, without_reasoning
from distillery_trainer.parsing.reasoning_marks import QUOTE, TAG


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>b</think>\n\na", "b", "a"),
        (" \n<think>b\nc</think>a", "b\nc", "a"),
        ("begun in the prompt\n</think>\n\na", "begun in the prompt", "a"),
        ("b</think>a", "b", "a"),
        ("<think>still going", "still going", ""),
        ("<think></think>a", "", "a"),
        ("<think>what does </think> mean", "what does", "mean"),
        ("a thinker", None, "a thinker"),
        (" a < b ", None, " a < b "),
    ],
)
def test_reasoning_at_the_start_is_separated(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "R1 models think between `<think>` and `</think>` tags. They answer after that.",
        "The end is marked by `</think>`, and nothing else.",
        'It writes "</think>" when it is done.',
        'It writes "</think> and more" when it is done.',
        "It writes \u201c</think> and more\u201d when it is done.",
        "First <think> comes, then </think>.",
        "Answer: 5 <think>was that right?",
    ],
)
def test_answer_that_mentions_the_marks_is_unchanged(answer):
    assert split_reasoning(answer) == (None, answer)


MARKS = (
    ("<think>", "</think>"),
    ("<Think>\n", "\n</THINK>"),
    ("< think >", "</ think >"),
    ('<think budget="512">', "</think>"),
    ("\ufeff<think>", "</think>"),
    ("\u200b<th\u200bink>", "\u200b</th\u00adink>"),
    ("\uff1cthink\uff1e", "\uff1c/think\uff1e"),
    ("<think>first</think>\n<think>", "</think>"),
    ("<think><think>", "</think></think>"),
    ("<think>is it <reflection>so?</reflection>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<analysis>", "</analysis>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<ant_thinking>", "</ant_thinking>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysis<|message|>", "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|channel|>commentary<|message|>x<|end|><|channel|>final<|message|>"),
    ("analysisWe ", "assistantfinal"),
    ("analysis", "assistantcommentaryassistantfinal"),
    ("", "</think>"),
    ("Well, ", "</thinking>"),
    ("", "[/THINK]"),
    ("", "\u25c1/think\u25b7"),
)
UNMARKED = st.text().map(lambda text: text.translate(dict.fromkeys(map(ord, "<>[]|/\uff1c\uff1e\u25c1\u25b7`"))))


UNQUOTED = UNMARKED.map(lambda text: QUOTE.sub("", text))


@given(st.sampled_from(MARKS), UNQUOTED, UNMARKED)
def test_only_the_answer_remains_of_a_reply_with_marks(around, reasoning, answer):
    opening, closing = around
    assert without_reasoning(f"{opening}{reasoning}{closing}{answer}") == answer.lstrip()


@given(st.sampled_from([opening for opening, _ in MARKS if opening[:1] in ("<", "[", "\u25c1", "\uff1c")]), UNMARKED)
def test_reply_that_was_cut_off_in_its_reasoning_has_no_answer(opening, reasoning):
    assert without_reasoning(f"{opening}{reasoning}") == ""


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>a<think>b</think>c</think>d", "a<think>b</think>c", "d"),
        ("<think>Is it <reflection>so?</think>B", "Is it <reflection>so?", "B"),
        ("<think>a<think>b</think>cut off", "a<think>b</think>cut off", ""),
        ("<think>The mark `<think>` opens it.</think>B", "The mark `<think>` opens it.", "B"),
        ("<think>The end is `</think>`, they say.</think>B", "The end is `</think>`, they say.", "B"),
        ("It ends with `</think>`, as here.</think>B", "It ends with `</think>`, as here.", "B"),
        ('The premise says "no".\nSo it is "no"</think>B', 'The premise says "no".\nSo it is "no"', "B"),
        ("They are the dogs'</think>B", "They are the dogs'", "B"),
        ('It is yes.</think>"yes"', "It is yes.", '"yes"'),
        ("</think>'yes'", "", "'yes'"),
        ("<think/>B", "", "B"),
        ("<thinking>a</thinking>\n<reflection>b</reflection>\nB", "a\n\nb", "B"),
        (
            "<|channel|>analysis<|message|>We add.<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
            "We add.",
            "B",
        ),
        ("<|channel|>analysis<|message|>We add", "We add", ""),
        ("<|channel>thought\nThe answer is entailment.\n<channel|>neutral", "The answer is entailment.", "neutral"),
        ("<|channel>thought\nI should greet.<channel|>Hello<turn|>", "I should greet.", "Hello"),
        ("<|channel>thought\nI should", "I should", ""),
        ("<unused94>thought\nWe add.<unused95>B", "We add.", "B"),
        (
            "<|begin_of_thought|>We add.<|end_of_thought|>\n\n<|begin_of_solution|>\nB\n<|end_of_solution|>",
            "We add.",
            "B",
        ),
        ("<|START_THINKING|>We add.<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>", "We add.", "B"),
        ("<|channel|>final<|message|>B", "", "B"),
        ("analysisWe add.assistantfinalB", "We add.", "B"),
        ("analysisThe user wants to", "The user wants to", ""),
    ],
)
def test_marks_of_other_models(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "analysis",
        "Analysis: the assistant's final answer is B.",
        "analysis of variance is a method",
        "analysis by the assistant finally showed it",
        "analysisResult = 5",
        "Data analysis\n\nassistant: final",
        "The channel is final.",
        "Do [think] about it",
        "Use `[/THINK]` at the end.",
        "```\nx\n</reasoning>\n```\nis the format",
        "The tags <reflection> and </reflection> surround it.",
        "She said: <thinking> is hard.",
    ],
)
def test_prose_with_words_of_marks_is_unchanged(answer):
    assert split_reasoning(answer) == (None, answer)


@given(st.text().filter(lambda text: not TAG.search(text)), UNQUOTED)
def test_what_follows_reasoning_is_the_answer(reasoning, answer):
    assert without_reasoning(f"<think>{reasoning}</think>{answer}") == answer.lstrip()
