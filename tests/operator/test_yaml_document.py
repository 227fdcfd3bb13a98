import re

import pytest

from distillery_operator.manifest_input.yaml_document import YamlProblem, field_name, plain_value, read_documents


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", True),
        ("On", True),
        ("y", True),
        ("NO", False),
        ("yEs", "yEs"),
        ("", None),
        ("~", None),
        ("Null", None),
        ("None", "None"),
        ("3e-4", 0.0003),
        ("1e3", 1000),
        (".5", 0.5),
        ("3.0", 3),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("0755", 493),
        ("-3", -3),
        ("08", 8),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        ("9" * 5000, "9" * 5000),
        ("1e999", "1e999"),
        ("0x" + "f" * 5000, "0x" + "f" * 5000),
        ("12:30", "12:30"),
        ("2026-11-25", "2026-11-25"),
        ("50Gi", "50Gi"),
        ("-", "-"),
        (".", "."),
    ],
)
def test_plain_scalar_means_what_it_means_to_kubectl(written, value):
    read = plain_value(written)
    assert read == value
    assert type(read) is type(value)


def test_quoted_scalar_is_text():
    assert read_documents("a: 'yes'\nb: \"3\"\n")[0].value == {"a": "yes", "b": "3"}


def test_every_field_has_its_line():
    document = read_documents("a:\n  b: 1\n  c:\n  - x\n  - y\n")[0]
    assert document.line_of(("a", "b")) == 2
    assert document.line_of(("a", "c", 1)) == 5
    assert document.line_of(("a", "c", 1, "missing", "deeper")) == 5
    assert document.line_of(("nowhere",)) == 1


def test_documents_are_read_one_by_one_and_empty_ones_left_out():
    documents = read_documents("---\na: 1\n---\n# nothing\n---\nb: 2\n")
    assert [(each.value, each.line) for each in documents] == [({"a": 1}, 2), ({"b": 2}, 6)]


def test_merge_key_brings_in_fields_that_are_not_given():
    text = "base: &base {epochs: 1, seed: 2}\ntraining:\n  <<: *base\n  epochs: 3\n"
    assert read_documents(text)[0].value["training"] == {"epochs": 3, "seed": 2}


def test_boolean_key_is_text_as_in_json():
    assert read_documents("on: 1\n5: 2\n")[0].value == {"true": 1, "5": 2}


def test_duplicate_key_is_recorded_with_both_lines():
    document = read_documents("a:\n  b: 1\n  b: 2\n")[0]
    assert document.value == {"a": {"b": 1}}
    assert [(each.path, each.first_line, each.line) for each in document.duplicates] == [(("a", "b"), 2, 3)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\n\tb: 2\n", 2, "tabs"),
        ("a: 1\n b: 2\n", 2, "check the indentation"),
        ("a: [1,\n2\n", 3, "close the bracket"),
        ("a: 'it\n", 2, "close the quotes"),
        ("a: *nothing\n", 1, "define the anchor"),
        ("a: 1\nb: \x00\n", 2, "the character U+0000 is not allowed; remove it"),
        ("a: !secret x\n", 1, "the tag !secret is not supported"),
        ("a: &a\n  b: *a\n", 1, "contains an alias of itself"),
        ("? [a, b]\n: 1\n", 1, "a field name must be a string"),
        ("[" * 5000, 1, "nested too deeply"),
    ],
)
def test_text_that_is_not_yaml_gets_a_message_with_its_line(text, line, message):
    with pytest.raises(YamlProblem, match=re.escape(message)) as caught:
        read_documents(text)
    assert caught.value.line == line


def test_aliases_that_grow_without_bound_are_refused():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(YamlProblem, match="after its aliases are expanded"):
        read_documents("\n".join(lines))


def test_path_is_written_as_kubectl_writes_it():
    assert field_name(("spec", "generation", "teachers", 0, "name")) == "spec.generation.teachers[0].name"
