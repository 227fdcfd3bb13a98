"""Options of a question in columns of their own, and gold that names one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_source import rows_of
from distillery_api.spec import Columns
from distillery_trainer.data.formats import by_columns
from distillery_trainer.data.formats.conversation import InvalidRow
from distillery_trainer.parsing.options import find_options

ABCD = ["Paris", "Rome", "Oslo", "Bern"]


def row_of(gold, options, **columns):
    names = tuple(f"o{number}" for number in range(len(options)))
    given_columns = Columns.model_validate({"prompt": "q", "gold": "gold", "options": names, **columns})
    return by_columns(given_columns)({"q": "Where?", "gold": gold, **dict(zip(names, options, strict=True))})


def gold_of(gold, options=ABCD, **columns):
    return row_of(gold, options, **columns).gold


def problem_of(gold, options=ABCD, **columns) -> str:
    with pytest.raises(InvalidRow) as error:
        row_of(gold, options, **columns)
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (ABCD, ["A. Paris", "B. Rome", "C. Oslo", "D. Bern"]),
        (["yes", "no", "", None], ["A. yes", "B. no"]),
        (["two\nlines", " 3 "], ["A. two lines", "B. 3"]),
        ([1, 2.5], ["A. 1", "B. 2.5"]),
        (["A. Paris", "B. Rome"], ["A. Paris", "B. Rome"]),
        (["(a) Paris", "(b) Rome"], ["A. Paris", "B. Rome"]),
        (["A. Paris", "Rome"], ["A. A. Paris", "B. Rome"]),
    ],
)
def test_options_follow_the_prompt_as_lettered_lines(options, lines):
    [message] = row_of(None, options).messages
    assert message["content"].splitlines() == ["Where?", *lines]


@pytest.mark.parametrize(
    ("gold", "first_option", "letter"),
    [
        ("B", None, "B"),
        ("b", None, "B"),
        ("(B)", None, "B"),
        (" B. ", None, "B"),
        ("Rome", None, "B"),
        ("rome.", None, "B"),
        ("B. Rome", None, "B"),
        ("0", 0, "A"),
        ("3", 0, "D"),
        (3, 0, "D"),
        ("2.0", 1, "B"),
        ("1", 1, "A"),
        ("C", 1, "C"),
        ("Oslo", 0, "C"),
        (["A", "Rome"], None, ["A", "B"]),
        (None, None, None),
        ("", 0, None),
    ],
)
def test_gold_becomes_the_letter_of_its_option(gold, first_option, letter):
    assert gold_of(gold, **({} if first_option is None else {"firstOption": first_option})) == letter


def test_number_is_the_text_of_an_option_unless_options_are_counted():
    assert gold_of("4", ["3", "4", "5", "6"]) == "B"
    assert gold_of("2", ["3", "4", "5", "6"], firstOption=0) == "C"


@pytest.mark.parametrize(
    ("gold", "options", "columns", "problem"),
    [
        ("2", ABCD, {}, "gold is the number 2; set columns.firstOption to 0 or 1, the number of the first option"),
        ("4", ABCD, {"firstOption": 0}, "gold is 4, but the options of the row are 0 to 3"),
        ("0", ABCD, {"firstOption": 1}, "gold is 0, but the options of the row are 1 to 4"),
        ("E", ABCD, {}, 'gold "E" is neither a letter from A to D nor the text of one option'),
        ("B. Paris", ABCD, {}, 'gold "B. Paris" is neither a letter from A to D nor the text of one option'),
        ("Athens", ABCD, {}, 'gold "Athens" is neither a letter from A to D nor the text of one option'),
        ("yes", ["yes", "no", "Yes!"], {"firstOption": 0}, None),
        ("YES", ["yes", "no", "Yes!"], {}, 'gold "YES" is the text of several options; give the letter'),
        ("A", ["B", "A"], {}, 'gold "A" is the letter of one option and the text of another; give the number of the'
         " option, and set columns.firstOption"),
        (None, ["yes", "", "no"], {}, "the option B is empty, but a later one is not; close the gap"),
        (None, ["yes", None], {}, "the row has fewer than two options (columns.options)"),
    ],
)  # fmt: skip
def test_gold_or_options_that_may_mean_something_else_are_refused(gold, options, columns, problem):
    if problem is None:
        assert gold_of(gold, options, **columns) == "A"
    else:
        assert problem_of(gold, options, **columns) == problem


def test_one_column_may_hold_the_list_of_options(tmp_path):
    columns = {"prompt": "question", "gold": "answerKey", "options": ["choices.text"]}
    record = b'{"question": "Where?", "choices": {"label": ["A", "B"], "text": ["Paris", "Rome"]}, "answerKey": "B"}'
    [row] = rows_of(tmp_path, record, columns=columns)
    assert (row.text, row.gold) == ("Where?\nA. Paris\nB. Rome", "B")


def test_missing_option_column_is_named(tmp_path):
    columns = {"prompt": "q", "options": ["a", "b"]}
    [error] = rows_of(tmp_path, b"q,a,c\nWhere?,Paris,Rome\n", "rows.csv", columns=columns)
    assert error.rule == 'the column "b" (columns.options) is missing; existing columns: q, a, c'


@given(options=st.lists(st.text("ab .)", min_size=1).filter(str.strip), min_size=2, max_size=5), data=st.data())
def test_task_reads_the_options_and_gold_that_were_written(options, data):
    number = data.draw(st.integers(0, len(options) - 1))
    found = row_of(str(number), options, firstOption=0)
    letters = find_options(found.messages[-1]["content"])
    assert list(letters) == list("ABCDE"[: len(options)])
    assert found.gold == "ABCDE"[number]
