"""Messages made of several columns."""

import contextlib
import io
import re

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from data_source import rows_of
from distillery_api.spec import Columns
from distillery_trainer.data.formats import by_columns, needed_columns
from distillery_trainer.data.formats.conversation import InvalidRow
from distillery_trainer.data.formats.templates import Template

NLI = "Premise: {premise}\nHypothesis: {hypothesis}"


def prompt_of(template: str, row: dict) -> str:
    return by_columns(Columns(prompt=template))(row).messages[-1]["content"]


def problem_of(template: str, row: dict) -> str:
    with pytest.raises(InvalidRow) as error:
        prompt_of(template, row)
    return str(error.value)


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        (NLI, {"premise": "It rains.", "hypothesis": "It is dry."}, "Premise: It rains.\nHypothesis: It is dry."),
        ("{q} {q}", {"q": "Why?"}, "Why? Why?"),
        ("{ q }", {"q": "Why?"}, "Why?"),
        ("{ q }", {"q": "Why?", " q ": "How?"}, "How?"),
        ("{Frage 1}: {größe}", {"Frage 1": "Wie groß", "größe": 1.5}, "Wie groß: 1.5"),
        ('{{"text": "{q}"}}', {"q": "Why?"}, '{"text": "Why?"}'),
        ("{{{q}}}", {"q": "Why?"}, "{Why?}"),
        ("{q} {{x}}", {"q": "Why?"}, "Why? {x}"),
        ("{a}{b?}", {"a": "A", "b": None}, "A"),
        ("{a}{b?}", {"a": "A", "b": " \n"}, "A"),
        ("{a?}{b?}", {"a": "", "b": "B"}, "B"),
        ("{sure?}", {"sure?": "yes", "sure": "no"}, "yes"),
        ("{n} {yes}", {"n": 3, "yes": True}, "3 true"),
        ("{item.question}", {"item": {"question": "Why?"}}, "Why?"),
        ("{item.question}", {"item": {"question": "Why?"}, "item.question": "How?"}, "How?"),
        ("{turns.0.text}", {"turns": [{"text": "Why?"}]}, "Why?"),
        ("{q!r:>9}", {"q!r:>9": "Why?"}, "Why?"),
        ("{q}", {"q": "Use {braces}"}, "Use {braces}"),
        ("{q}", {"{q}": "the column itself", "q": "Why?"}, "the column itself"),
        ("a{b", {"a{b": "the column itself"}, "the column itself"),
    ],
)
def test_template_is_filled_with_the_cells_of_a_row(template, row, text):
    assert prompt_of(template, row) == text


@pytest.mark.parametrize(
    ("template", "row", "problem"),
    [
        (NLI, {"premise": "x", "Hypothesis": "y"},
         'the column "hypothesis" (columns.prompt) is missing; existing columns: premise, Hypothesis'),
        ("{x?}", {"q": "y"}, 'the column "x" (columns.prompt) is missing; existing columns: q'),
        (NLI, {"premise": "", "hypothesis": "y"},
         'the column "premise" (columns.prompt) is empty; fill it, or write {premise?} where it may be'),
        ("Say: {a?}{b?}", {"a": "", "b": None}, "the text of columns.prompt is empty: no column of it has a value"),
        ("{tags}", {"tags": ["a"]}, 'the column "tags" is not text'),
        ("{item}", {"item": {"q": 1}}, 'the column "item" is an object; lead into it with a dot'),
        ("{{q}} {r}", {"q": "Why?", "r": "x"},
         "columns.prompt: {{q}} stands for the text {q}; write {q} for the cell of that column"),
        ("{{ item.q }}{q}", {"item": {"q": "Why?"}, "q": "x"},
         "columns.prompt: {{item.q}} stands for the text {item.q}; write {item.q} for the cell of that column"),
        ("Why {q", {"q": "x"},
         "columns.prompt: the brace { stands alone; write {column} for a cell, and {{ or }} for a brace"),
        ("q} {q}", {"q": "x"},
         "columns.prompt: the brace } stands alone; write {column} for a cell, and {{ or }} for a brace"),
        ('{"text": "{q}"}', {"q": "x"},
         "columns.prompt: the brace { stands alone; write {column} for a cell, and {{ or }} for a brace"),
        ("{ } {q}", {"q": "x"}, "columns.prompt: {} names no column; write {column}"),
        ("Answer {{so}}.", {"q": "x"}, "columns.prompt: it has no {column}, so all rows would get the same text"),
    ],
)  # fmt: skip
def test_template_that_does_not_fit_is_refused(template, row, problem):
    assert problem_of(template, row) == problem


@pytest.mark.parametrize(("topic", "system"), [("law", "You know law."), ("", None), (None, None)])
def test_system_message_may_be_a_template_and_is_left_out_without_a_value(topic, system):
    read = by_columns(Columns(prompt="q", system="You know {topic?}."))
    messages = read({"q": "Why?", "topic": topic}).messages
    assert [message["content"] for message in messages if message["role"] == "system"] == ([system] if system else [])


def test_template_reads_csv_parquet_and_json_lines_alike(tmp_path):
    columns = {"prompt": NLI, "gold": "label"}
    csv = b"label,premise,hypothesis\nneutral,It rains.,It is cold.\n"
    json = b'{"label": "neutral", "premise": "It rains.", "hypothesis": "It is cold."}\n'
    table = pyarrow.table({"other": [1], "label": ["neutral"], "premise": ["It rains."], "hypothesis": ["It is cold."]})
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    for name, content in (("rows.csv", csv), ("rows.jsonl", json), ("rows.parquet", stream.getvalue())):
        [row] = rows_of(tmp_path, content, name, columns=columns)
        assert (row.text, row.gold) == ("Premise: It rains.\nHypothesis: It is cold.", "neutral")


def test_delimiter_of_csv_is_found_by_the_columns_of_a_template(tmp_path):
    [row] = rows_of(tmp_path, b"first;second,third\na,b;c,d\n", "rows.csv", columns={"prompt": "{first}"})
    assert row.text == "a,b"


def test_parquet_is_read_by_the_columns_of_a_template_alone():
    columns = Columns(prompt="{a} {b.c} {d?}", system="{e}", gold="f", options=("g",))
    assert needed_columns(columns, ["x", "a", "b", "d", "e", "f", "g"]) == {"a", "b", "d", "e", "f", "g"}
    assert needed_columns(columns, ["x", "a", "b", "d", "e", "f"]) is None
    assert needed_columns(columns, ["{a} {b.c} {d?}", "a", "e", "f", "g"]) == {"{a} {b.c} {d?}", "e", "f", "g"}


TEXTS = st.text(st.sampled_from("ab{}? \n!:."), max_size=12)


@given(before=TEXTS, cell=TEXTS.filter(str.strip), after=TEXTS)
def test_text_with_doubled_braces_is_written_as_it_is(before, cell, after):
    doubled = [re.sub(r"([{}])", r"\1\1", text) for text in (before, after)]
    assert Template(f"{doubled[0]}{{column}}{doubled[1]}", "columns.prompt").filled({"column": cell}) == (
        before + cell + after
    )


@given(template=TEXTS.filter(str.strip), cell=TEXTS.filter(str.strip))
def test_any_text_is_the_name_of_its_column_and_otherwise_filled_or_refused(template, cell):
    assert prompt_of(template, {"a": "x", "b": "y", template: cell}) == cell
    with contextlib.suppress(InvalidRow):
        assert prompt_of(template, {"a": "x", "b": "y"}).strip()
