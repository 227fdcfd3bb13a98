"""Values of fields that say the same, and what two objects have in common."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.text import object_fields
from distillery_trainer.text.object_fields import counts, f1, plain, shared
from distillery_trainer.text.object_fields import given as given_fields
from distillery_trainer.text.plain_values import plain_value


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "2026-03-05",
            "2026/3/5",
            "5 March 2026",
            "5. March 2026",
            "March 5, 2026",
            "Mar 5th, 2026",
            "5th of March 2026",
        ],
        ["05.03.2026", "5.3.2026", "2026-03-05"],
        ["13/05/2026", "05/13/2026", "2026-05-13"],
        ["March 8th", "8 March", "the 8th of March", "mar 8"],
        ["2026-03-05T10:00:00Z", "2026-03-05T10:00:00+00:00"],
        [1200.5, "1200.50", "1,200.5", 1.2005e3],
        [72, 72.0, "72", "72.0"],
        [0, -0.0, "0.0"],
        ["New  York", " New York\n"],
        ["M\u00fcnchen", "Mu\u0308nchen"],
    ],
)
def test_values_that_say_the_same(spellings):
    assert len(set(map(plain_value, spellings))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("03/04/2026", "04/03/2026"),
        ("007", "7"),
        ("1.200", "1200"),
        ("1.200", "1.2"),
        (True, "True"),
        (True, 1),
        ("2026-02-30", "2026-03-02"),
        ("31 February", "28 February"),
        ("Berlin", "berlin"),
        ("12 EUR", "12"),
        (10**30, 10**30 + 1),
    ],
)
def test_values_that_differ(one, other):
    assert plain_value(one) != plain_value(other)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40))
def test_a_number_equals_its_text_with_another_exponent(number):
    written = f"{number:e}" if isinstance(number, float) else str(number)
    if float(written) == number:
        assert plain_value(float(written)) == plain_value(float(number))


def test_fields_are_counted_by_path():
    value = {"a": 1, "b": {"c": "x", "d": None}, "e": [], "f": "", "t": ["x", "y"], "i": [{"p": 1}, {"p": 2}]}
    assert given_fields(plain(value)) == {"a": 1, "b.c": 1, "t[]": 2, "i[].p": 2}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x", "y", "2026-01-02"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(OBJECTS)
def test_an_object_shares_all_fields_with_itself(value):
    assert shared(plain(value), plain(value)) == given_fields(plain(value))


@given(OBJECTS, OBJECTS)
def test_only_objects_that_say_the_same_have_an_f1_of_1(one, other):
    found = counts(json.dumps(one), json.dumps(other))
    assert all(found.right[name] <= min(found.answered[name], found.wanted[name]) for name in found.right)
    assert (f1(found) == 1) == (plain(one) == plain(other))
    assert f1(found) == pytest.approx(f1(counts(json.dumps(other), json.dumps(one))))


def test_no_answer_has_no_fields():
    found = counts(None, '{"a": 1, "b": [2, 3]}')
    assert (found.right.total(), found.answered.total(), found.wanted.total()) == (0, 0, 3)


def test_long_lists_are_paired_in_their_order():
    one = {"i": [{"a": number, "b": 0} for number in range(150)]}
    other = {"i": [{"a": -number, "b": 0} for number in range(1, 151)]}
    assert counts(json.dumps(one), json.dumps(other)).right == {"i[].b": 150}


def test_plain_value_as_json():
    text = '{"b": [2, {"c": "5 March 2026"}], "a": 1.50}'
    assert object_fields.as_json(object_fields.read(text)) == {"a": "1.5", "b": ["2", {"c": "2026-03-05"}]}
