"""Numbers and names of a summary that its source does not have."""

import pytest

from distillery_trainer.text import entities, faithfulness

SOURCE = "In 2014, Oxford trained GPT-4 on 1.2 million rows in three days; accuracy rose by 12% to 84.5 %."


@pytest.mark.parametrize(
    ("summary", "unsupported"),
    [
        ("Oxford trained GPT-4 on 1,200,000 rows in 3 days.", []),
        ("Trained on 1.2 million rows, accuracy rose 12 percent.", []),
        ("Oxford trained GPT-5 on 13% of the rows.", ["5", "13%"]),
        ("1. Accuracy was 84.50.\n2. It rose.", []),
        ("It took long.", []),
    ],
)
def test_numbers_that_the_source_does_not_have(summary, unsupported):
    assert faithfulness.numbers_not_in_source(summary, SOURCE) == unsupported


def test_name_is_found_whatever_its_article_and_ending():
    text = ["the", "university", "of", "oxford", "and", "google"]
    assert entities.is_mentioned("University of Oxford", text)
    assert entities.is_mentioned("the University of Oxford's", text)
    assert not entities.is_mentioned("University of Cambridge", text)


@pytest.mark.skipif(entities.available(), reason="a model is installed")
def test_without_a_model_metrics_of_names_are_none():
    assert entities.density("Oxford trained a model.") is None
    assert entities.named_entities("Oxford trained a model.") is None
    assert faithfulness.supported_share("Oxford trained a model.", SOURCE) is None
    assert faithfulness.names_not_in_source("Cambridge trained a model.", SOURCE) == []


@pytest.mark.skipif(not entities.available(), reason="no spaCy model for English is installed")
def test_names_of_a_summary_are_looked_up_in_its_source():
    assert faithfulness.supported_share("Google trained a model in London.", "Google trained a model in Paris.") == 0.5
    assert faithfulness.names_not_in_source("Google is in London.", "Google is in Paris.") == ["London"]
    assert entities.density("Google is in London.") == pytest.approx(2 / 5)
