"""Replies with any number of labels: what is read, and what is unreadable."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.spec.labels import LabelDefinition, are_distinct, can_be_listed
from distillery_trainer.parsing.label_sets import LabelSetParser
from distillery_trainer.parsing.unreadable import Unreadable

LABELS = ("price", "service", "food and drinks", "C++")
PARSER = LabelSetParser(LABELS, "labels")


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ("price, service", "price, service"),
        ("Service; PRICE.", "price, service"),
        ("- price\n- C++", "price, C++"),
        ("1. food and drinks\n2. price", "price, food and drinks"),
        ("price and service", "price, service"),
        ("price, service, and C++", "price, service, C++"),
        ("Labels: price", "price"),
        ("The labels are: price, service", "price, service"),
        ("[price, service]", "price, service"),
        ('"price", "service"', "price, service"),
        ("**price**, **service**", "price, service"),
        ("price,", "price"),
        ("price, price", "price"),
        ("price、service", "price, service"),
        ('["service", "price"]', "price, service"),
        ('```json\n["price"]\n```', "price"),
        ('{"reason": "x", "labels": ["C++"]}', "C++"),
        ('{"labels": "price, service"}', "price, service"),
        ("<think>service?</think>price", "price"),
        ("none", "none"),
        ("None.", "none"),
        ("[]", "none"),
        ('{"reason": "x", "labels": []}', "none"),
        ('{"reason": "x", "labels": "none"}', "none"),
    ],
)
def test_list_of_labels_is_read(reply: str, labels: str):
    assert PARSER.read(reply) == labels


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("garden", "label_not_allowed"),
        ("price, garden", "label_not_allowed"),
        ("It is about the price.", "label_not_allowed"),
        ("not price", "label_not_allowed"),
        ("price or service", "label_not_allowed"),
        ("price, none", "label_not_allowed"),
        ("price and food and drinks", "label_not_allowed"),
        ("price? service!", "label_not_allowed"),
        ('{"labels": ["garden"]}', "label_not_allowed"),
        ('{"labels": null}', "label_not_allowed"),
        ('{"labels": {"price": true}}', "label_not_allowed"),
        ('{"reason": "x"}', "bad_json"),
        ('{"labels": ["price"', "bad_json"),
        ('{"labels": ["price"]} {"labels": ["service"]}', "bad_json"),
        ("price, " * 10_000 + "x", "label_not_allowed"),
    ],
)
def test_anything_else_is_unreadable(reply: str, reason: str):
    read = PARSER.read(reply)
    assert isinstance(read, Unreadable)
    assert read.reason == reason


def test_message_names_the_labels():
    read = PARSER.read("garden")
    assert read.message == (
        "The reply 'garden' is not a list of some of these labels, nor none: price, service, food and drinks, C++."
    )


def test_punctuation_in_a_list_counts_only_where_it_is_a_label():
    assert PARSER.read("price, service, .") == "price, service"
    assert LabelSetParser([".", "price"], "labels").read("price, .") == "., price"


names = st.text(st.sampled_from(string.printable + "äßé中"), min_size=1, max_size=12).map(str.strip)
label_lists = (
    st.lists(names.filter(lambda name: name and "\n" not in name and "\r" not in name), min_size=2, max_size=6)
    .map(lambda found: [LabelDefinition(name=name) for name in found])
    .filter(lambda labels: are_distinct(labels) and can_be_listed(labels))
)


@settings(deadline=None, max_examples=150)
@given(label_lists, st.data())
def test_what_the_student_writes_is_read_as_the_same_labels(labels: list[LabelDefinition], data: st.DataObject):
    parser = LabelSetParser([label.name for label in labels], "labels")
    written = parser.written(data.draw(st.sets(st.sampled_from([label.name for label in labels]))))
    assert isinstance(read := parser.read(written), Unreadable) or read == written


@settings(deadline=None, max_examples=150)
@given(st.text())
def test_any_reply_is_read_or_unreadable(reply: str):
    read = PARSER.read(reply)
    assert isinstance(read, Unreadable) or PARSER.read(read) == read
