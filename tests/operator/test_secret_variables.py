"""Secrets of a local run: files of variables, and variables of the environment."""

from pathlib import Path

import pytest

from distillery_operator.local.secret_variables import VariablesError, read_variables


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("A=x=y", "x=y"),
        ("A = 1 ", "1"),
        ("export A=1", "1"),
        ("  export A=1", "1"),
        ('A="1 2"', "1 2"),
        ("A='1 2'", "1 2"),
        ("export A='1' # the first", "1"),
        ("A=1 # the first", "1"),
        ("A=1#2", "1#2"),
        (r'A="one\ntwo"', "one\ntwo"),
        (r"A='one\ntwo'", r"one\ntwo"),
        ('A="one\ntwo"', "one\ntwo"),
        ('A={"headers": {"Authorization": "Bearer x"}}', '{"headers": {"Authorization": "Bearer x"}}'),
        ("A=$HOME/${B}", "$HOME/${B}"),
        ("A=1\r", "1"),
        ("A=", ""),
    ],
)
def test_line_is_read_as_programs_write_it(tmp_path, line, value):
    (tmp_path / "a.env").write_text(f"\ufeff# a comment\n\n{line}\nlast=2\n", newline="")
    assert read_variables(tmp_path / "a.env") == {"A": value, "last": "2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\ns3cret\n", "line 2 is not KEY=VALUE"),
        ("A=1\n\n# comment\nexport\n", "line 4 is not KEY=VALUE"),
        ('A=1\nB="s3cret\n', "line 2 is not KEY=VALUE"),
        ("", "is empty; add KEY=VALUE lines"),
        ("# a comment\n", "is empty; add KEY=VALUE lines"),
        ("=s3cret\n", "line 1 is not KEY=VALUE"),
    ],
)
def test_bad_file_of_variables_gets_a_message_without_its_content(text, message, tmp_path):
    (tmp_path / "a.env").write_text(text)
    with pytest.raises(VariablesError) as caught:
        read_variables(tmp_path / "a.env")
    assert str(caught.value) == message


def test_missing_file_of_variables_gets_a_message(tmp_path):
    with pytest.raises(VariablesError, match="cannot be read: No such file or directory"):
        read_variables(tmp_path / "nothing.env")


@pytest.mark.parametrize(
    ("source", "key", "variables"),
    [
        ("env:FIRST", "api-key", {"FIRST": "1", "api-key": "1"}),
        ("env:FIRST", "FIRST", {"FIRST": "1"}),
        ("env:FIRST", None, {"FIRST": "1"}),
        ("env:FIRST,SECOND", "api-key", {"FIRST": "1", "SECOND": "2"}),
        ("env:one=FIRST,two=SECOND", None, {"one": "1", "two": "2"}),
        ("env:one=FIRST", "api-key", {"one": "1"}),
    ],
)
def test_variables_of_the_environment_are_used_where_they_are_named(monkeypatch, source, key, variables):
    monkeypatch.setenv("FIRST", "1")
    monkeypatch.setenv("SECOND", "2")
    assert read_variables(Path(source), key) == variables


@pytest.mark.parametrize("source", ["env:NOT_SET_AT_ALL", "env:EMPTY_ONE,NOT_SET_AT_ALL", "env:"])
def test_variable_that_is_not_set_gets_a_message(monkeypatch, source):
    monkeypatch.setenv("EMPTY_ONE", "")
    with pytest.raises(VariablesError, match=r"the environment has no variable \S+.*, or it is empty; export it"):
        read_variables(Path(source))
