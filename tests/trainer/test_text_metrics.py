"""Figures of prose: words, ROUGE, languages, numbers and names that a source does not have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.text import entities, faithfulness, languages, rouge
from distillery_trainer.text.words import word_count, words

# --- words


def test_words_of_scripts_with_and_without_spaces():
    assert words("Don't stop, U-Net!") == ["don", "t", "stop", "u", "net"]
    assert words("\u041c\u0430\u043b\u0430\u044f") == ["\u043c\u0430\u043b\u0430\u044f"]
    assert words("\u5c0f\u6a21\u578b") == ["\u5c0f", "\u6a21", "\u578b"]
    assert words("\u092a\u0922\u093c\u0928\u093e") == ["\u092a\u0922\u093c\u0928\u093e"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("Don't stop-gap - now.", 3), ("\u5c0f\u6a21\u578b ok", 4), ("\u2022 one\n\u2022 two", 2)],
)
def test_words_as_a_person_counts_them(text, count):
    assert word_count(text) == count


# --- ROUGE


def test_rouge_of_a_known_pair():
    # "the cat sat" of 3 words in common with "the cat was sitting" of 4: the, cat; one pair; subsequence of 2.
    found = rouge.scores("the cat sat", ["the cat was sitting"])
    assert found.rouge1 == pytest.approx(4 / 7)
    assert found.rouge2 == pytest.approx(2 / 5)
    assert found.rougeL == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    "text",
    [
        "\u041c\u0430\u043b\u0430\u044f \u043c\u043e\u0434\u0435\u043b\u044c",
        "\u5c0f\u6a21\u578b\u5b66\u4e60",
        "A model.",
    ],
)
def test_identical_texts_of_any_script_are_worth_all(text):
    assert rouge.scores(text, [text]) == rouge.Rouge(1.0, 1.0, 1.0)


def test_the_best_of_several_references_counts():
    assert rouge.scores("a b c", ["x y z", "a b c"]).rougeL == 1.0


def test_rouge_without_references_is_an_error():
    with pytest.raises(ValueError, match="at least one reference"):
        rouge.scores("a", [])


@given(st.text(max_size=40), st.text(max_size=40))
def test_rouge_lies_between_0_and_1(first, second):
    found = rouge.scores(first, [second])
    assert all(0 <= value <= 1 for value in (found.rouge1, found.rouge2, found.rougeL))


# --- languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The report sums up what the study has found.", "en"),
        ("Der Bericht fasst zusammen, was die Studie gefunden hat.", "de"),
        ("La r\u00e9servation est confirm\u00e9e pour ce soir \u00e0 vingt heures.", "fr"),
        ("\u5c0f\u6a21\u578b\u4ece\u5927\u6a21\u578b\u7684\u56de\u7b54\u4e2d\u5b66\u4e60\u3002", "zh"),
        ("Der Befehl lautet `print the list of all the files in the folder` und zeigt alle Dateien.", "de"),
    ],
)
def test_language_of_a_sentence(text, language):
    assert languages.detect(text) == language


@pytest.mark.parametrize(
    "text", ["", "OK.", "72", "x = 5\n" * 20, "```\nprint('hello world of programs')\n```", "\ud800"]
)
def test_language_that_is_not_told(text):
    assert languages.detect(text) is None


def test_code_and_name_of_a_language():
    assert languages.primary("pt-BR") == "pt"
    assert languages.primary("nb") == "no"
    assert languages.english_name("pt-BR") == "Portuguese (Brazil)"
    assert languages.english_name("qx") == "qx"


# --- faithfulness

SOURCE = "In 2014, Oxford trained GPT-4 on 1.2 million rows in three days; accuracy rose by 12% to 84.5 %."


@pytest.mark.parametrize(
    ("summary", "strange"),
    [
        ("Oxford trained GPT-4 on 1,200,000 rows in 3 days.", []),
        ("Trained on 1.2 million rows, accuracy rose 12 percent.", []),
        ("Oxford trained GPT-5 on 13% of the rows.", ["5", "13%"]),
        ("1. Accuracy was 84.50.\n2. It rose.", []),
        ("It took long.", []),
    ],
)
def test_numbers_that_the_source_does_not_have(summary, strange):
    assert faithfulness.numbers_not_in_source(summary, SOURCE) == strange


def test_share_of_numbers_found():
    assert faithfulness.supported_share_of_numbers("From 2014 to 2015.", SOURCE) == 0.5
    assert faithfulness.supported_share_of_numbers("No figures.", SOURCE) is None


def test_name_is_found_whatever_its_article_and_ending():
    text = ["the", "university", "of", "oxford", "and", "google"]
    assert entities.is_mentioned("University of Oxford", text)
    assert entities.is_mentioned("the University of Oxford's", text)
    assert not entities.is_mentioned("University of Cambridge", text)


@pytest.mark.skipif(entities.available(), reason="a model is installed")
def test_without_a_model_figures_of_names_are_none():
    assert entities.density("Oxford trained a model.") is None
    assert entities.named_entities("Oxford trained a model.") is None
    assert faithfulness.supported_share("Oxford trained a model.", SOURCE) is None
    assert faithfulness.names_not_in_source("Cambridge trained a model.", SOURCE) == []


@pytest.mark.skipif(not entities.available(), reason="no spaCy model for English is installed")
def test_names_of_a_summary_are_looked_up_in_its_source():
    assert faithfulness.supported_share("Google trained a model in London.", "Google trained a model in Paris.") == 0.5
    assert faithfulness.names_not_in_source("Google is in London.", "Google is in Paris.") == ["London"]
    assert entities.density("Google is in London.") == pytest.approx(2 / 5)
