"""Numbers as people and models write them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing import numbers


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("72", "72"),
        ("72.0", "72"),
        ("72.50", "72.5"),
        ("007", "7"),
        ("+5", "5"),
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("-0", "0"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1e-5", "0.00001"),
        ("1,200", "1200"),
        ("1,234,567.891", "1234567.891"),
        ("1 234 567", "1234567"),
        ("1\u202f234", "1234"),
        ("1\u2019234", "1234"),
        ("1.234.567", "1234567"),
        ("1.234,56", "1234.56"),
        ("1,00,000", "100000"),
        ("1{,}000", "1000"),
        ("1,5", "1.5"),
        ("0,125", "0.125"),
        ("1.234", "1.234"),
        ("$1,200", "1200"),
        ("-$5", "-5"),
        ("5 \u20ac", "5"),
        ("1/2", "0.5"),
        ("1/3", "1/3"),
        ("-1/3", "-1/3"),
        ("2 1/2", "2.5"),
        ("2\u00bd", "2.5"),
        ("\\frac{3}{4}", "0.75"),
        ("50 %", "50%"),
        ("50 percent", "50%"),
        ("1.5 million", "1500000"),
        ("\\boxed{72}", "72"),
        ("$72$", "72"),
        ("**72**.", "72"),
        ("\u0667\u0662\u066b\u0665", "72.5"),
        ("\uff17\uff12", "72"),
        ("\\boxed{-\\frac{3}{4}}", "-0.75"),
        ("-\\frac{3}{4}", "-0.75"),
        ("\\boxed{- 5}", "-5"),
        ("- 5", "-5"),
        ("-\u00bd", "-0.5"),
        ("minus 3", "-3"),
        ("negative $3", "-3"),
        ("$-5$", "-5"),
        ("\u8d1f3", "-3"),
        ("3 \u00d7 10^8", "300000000"),
        ("-2.5 \\times 10^{-3}", "-0.0025"),
        ("3\u00b710\u2074", "30000"),
        ("10 000", "10000"),
        ("3 hundred", "300"),
    ],
)
def test_one_number_in_canonical_form(text, literal):
    assert numbers.parse(text) == literal


@pytest.mark.parametrize(
    "text",
    [
        *("", "none", "13 or 12", "12-15", "10:30", "1,2,3", "1.2.3", "3rd", "13th", "GPT4", "1/0", "1e400", "9" * 500),
        *(
            "5\\sqrt{3}",
            "2\\pi",
            "2^{10}",
            "10\u2078",
            "3:1",
            "not 72",
            "$1.5M",
            "$5m",
            "2.5k",
            "5x",
            "3i",
            "5!",
            "5-",
            "--5",
        ),
        *(
            "\u00b13",
            "~5",
            "> 5",
            "\u2248 3.14",
            "3 + 4i",
            "(3, 4)",
            "[2, 5]",
            "0.333...",
            "0.(3)",
            "1010_2",
            "12/5/2020",
        ),
        *("5 ft 3 in", "2 dozen", "3 quarters", "half of 50", "1 in 6", "50% of 80", "7 R 2", "5\u4e07", "\u2014 5"),
    ],
)
def test_what_is_not_one_number(text):
    assert numbers.parse(text) is None


def test_numbers_of_a_sentence_are_those_that_stand_alone():
    text = numbers.normalize("In 2014, GPT2 made the 3rd place: 12/5/2020, 5 - 3, 10kg and 1,250.75.")
    assert [found.literal for found in numbers.find_in_prose(text)] == [
        "2014",
        "12",
        "5",
        "2020",
        "5",
        "3",
        "10",
        "1250.75",
    ]


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("72", "72.0"),
        ("1,000", "1e3"),
        ("0.5", "1/2"),
        ("0.333333", "1/3"),
        ("50%", "50 %"),
        ("50", "50%"),
        ("50%", "0.5"),
        ("-5", "\u22125"),
        ("0", "-0.0"),
        ("6.626e-34", "6.6260e-34"),
        ("0.30000000000000004", "0.3"),
        ("0.666666", "2/3"),
        ("66.6667%", "0.666667"),
    ],
)
def test_equal_numbers(answer, gold):
    assert numbers.equal(answer, gold)


DIFFERENT = [
    ("6.6e-34", "1.6e-19"),
    ("0", "1e-9"),
    ("1e-9", "0"),
    ("1000001", "1000000"),
    ("1234567.88", "1234567.89"),
    ("0.00001", "0.00002"),
    ("1e12", "1000000000001"),
    ("1/3", "1/4"),
]


@pytest.mark.parametrize(
    ("answer", "gold"), [("72", "27"), ("50%", "50"), ("0.33", "1/3"), ("5", "-5"), ("none", "5"), *DIFFERENT]
)
def test_numbers_that_differ(answer, gold):
    assert not numbers.equal(answer, gold)


@given(st.integers(-(10**30), 10**30))
def test_integers_are_read_with_and_without_separators(number):
    assert (
        numbers.parse(str(number)) == numbers.parse(f"{number:,}") == numbers.parse(f" **{number:,}**. ") == str(number)
    )


@given(st.decimals(-(10**9), 10**9, places=4))
def test_decimals_are_json_literals_of_the_same_value(number):
    literal = numbers.parse(f"{number:f}")
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", literal)
    assert float(json.loads(literal)) == float(number)


@given(st.text(alphabet="0123456789.,'-+/%e $ kmx\u2212\u00bd"))
def test_any_text_has_numbers_or_none(text):
    for found in numbers.find_anywhere(numbers.normalize(text)):
        assert numbers.parse(found.literal) == found.literal
