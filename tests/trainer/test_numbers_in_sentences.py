"""Whatever a reply says around its number: the number is read, or nothing is."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_trainer.tasks import Unreadable
from task_definitions import task_definition

MATH = task_definition("Math")

UNSIGNED = st.one_of(
    st.integers(0, 10**12).map(str),
    st.integers(1000, 10**12).map(lambda number: f"{number:,}"),
    st.decimals(0, 10**6, places=3).map(str),
    st.tuples(st.integers(1, 99), st.integers(2, 99)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.integers(1, 99), st.integers(2, 99)).map(lambda pair: rf"\frac{{{pair[0]}}}{{{pair[1]}}}"),
    st.tuples(st.integers(1, 9), st.integers(-9, 9)).map(lambda pair: rf"{pair[0]} \times 10^{{{pair[1]}}}"),
)
SIGNS = st.sampled_from(["", "", "-", "\u2212", "\u2013", "minus ", "negative ", "- "])
BEFORE = [
    *(
        "",
        "The answer is ",
        "**Answer:** ",
        "Final answer: $",
        "#### ",
        "\\boxed{",
        "It costs ",
        "x = ",
        "She has ",
        "So we get ",
    ),
    *(
        "Let me think.\n\nThe answer is ",
        "8 + 9 = 17, so the answer is ",
        "Total: ",
        "The result is **",
        '{"answer": "',
        "= ",
    ),
    *(
        "I first got 5. The answer is ",
        "La respuesta es ",
        "\u7b54\u6848\u662f",
        "A = 2 \u00d7 3 = ",
        "There are ",
        "The sum is ",
    ),
]
AFTER = [
    *(
        "",
        ".",
        "**",
        "$",
        "}",
        "}$.",
        " dollars",
        " km/h.",
        " cm\u00b2",
        "%",
        "!",
        ", because 2 + 2 = 4.",
        " (see above)",
        "\n",
        '"}',
        "?",
    ),
    *(
        " apples left.",
        "\n\nI hope this helps!",
        " or 7",
        " and 7",
        "\u221a3",
        "\\sqrt{2}",
        "\\pi",
        "x",
        "i",
        ":1",
        " to 9",
        "-9",
        " \u00b1 1",
    ),
    *(
        "^2",
        "\u00b2",
        "!",
        "k",
        "M",
        " dozen",
        " = 5 + 2",
        " times 4",
        " + 3i",
        "...",
        " squared",
        " feet 3 inches",
        ". Wait, it is 9.",
    ),
]
CHANGE_THE_VALUE = frozenset(AFTER[AFTER.index(" or 7") :]) - {"!"}


def value_of(unsigned: str, sign: str) -> Fraction:
    plain = unsigned.replace(",", "").replace("\\frac{", "").replace("}{", "/").strip("}")
    number, _, exponent = plain.partition(r" \times 10^{")
    over, _, under = number.partition("/")
    value = Fraction(Decimal(over)) / int(under or 1) * Fraction(10) ** int(exponent or 0)
    return -value if sign else value


def read(reply: str) -> Fraction | None:
    answer = MATH.read_answer(reply, "")
    if isinstance(answer, Unreadable):
        return None
    over, _, under = answer.rstrip("%").partition("/")
    return Fraction(over) / int(under or 1)


@settings(max_examples=1500, deadline=None)
@given(UNSIGNED, SIGNS, st.sampled_from(BEFORE), st.sampled_from(AFTER))
def test_the_number_that_is_said_is_read_or_none(unsigned, sign, before, after):
    reply = before + sign + unsigned + after
    expected = None if after in CHANGE_THE_VALUE else value_of(unsigned, sign)
    assert read(reply) in (None, expected), reply


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.text(max_size=20))
def test_of_two_numbers_in_any_words_none_is_chosen(first, second, words):
    if first != second and not any(character.isnumeric() or character in "=-/\\#" for character in words):
        assert read(f"{first} {words} or {second}") is None


@pytest.mark.parametrize(
    "before", ["The answer is ", "The answer is $", "**Answer:** ", "#### ", "x = ", "It costs ", "\\boxed{"]
)
@pytest.mark.parametrize(
    ("unsigned", "value"), [("72", 72), ("1,200", 1200), ("0.5", Fraction(1, 2)), ("3/4", Fraction(3, 4))]
)
def test_plain_sentences_are_read(before, unsigned, value):
    after = "}" if "{" in before else "$." if before.endswith("$") else "."
    assert read(f"{before}{unsigned}{after}") == value
    assert read(f"{before}-{unsigned}{after}") == -value


@pytest.mark.parametrize(
    "reply",
    [
        r"\boxed{(1,2)}",
        r"\boxed{(-1,2)}",
        r"\boxed{[0,1]}",
        r"$\left(1,2\right)$",
        "The point is (3,4).",
        "The interval is [0,1].",
        "The interval is (0,1].",
        "The answer is {2,3}.",
        r"The answer is \{2,3\}.",
        "The solutions are 2,3.",
        "The roots are -1,5.",
        r"\boxed{2,3}",
        "x = 1,2",
        "2,3",
        '{"answer": "2,3"}',
    ],
)
def test_list_without_spaces_is_no_decimal(reply):
    assert read(reply) is None


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("The answer is 2,5.", Fraction(5, 2)),
        ("La r\u00e9ponse est \\boxed{3,5}.", Fraction(7, 2)),
        (r"Die Antwort ist \boxed{2,5}.", Fraction(5, 2)),
        (r"\boxed{0,5}", Fraction(1, 2)),
        (r"\boxed{1,200}", 1200),
        ("1,5 kg", Fraction(3, 2)),
        ("2,50 \u20ac", Fraction(5, 2)),
        ("x = 2,5 kg", Fraction(5, 2)),
        ("The number of solutions is 1,200.", 1200),
        ("The point is (3,4). The answer is 5.", 5),
    ],
)
def test_decimal_comma_with_evidence_is_read(reply, value):
    assert read(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        "I doubt it is 72.",
        "I disagree that the answer is 72.",
        "I doubt that the answer is 72.",
        "I reject that the answer is 72.",
        "The answer is 5 doubled.",
        "The answer is 5 tripled.",
        "5\u2032",
        "The answer is 5\u2033.",
    ],
)
def test_number_that_is_doubted_or_changed_by_what_follows_is_not_read(reply):
    assert read(reply) is None
