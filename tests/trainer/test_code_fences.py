"""The content of the only code fence in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.parsing.code_fences import only_fenced


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("```\na\n```", "a"),
        ("```sql\nSELECT 1;\n\nSELECT 2;\n```", "SELECT 1;\n\nSELECT 2;"),
        ("So:\n\n~~~ python\nx = '```'\n~~~\nDone.", "x = '```'"),
        ("````\n```\ninner\n```\n````", "```\ninner\n```"),
        ("  ```\r\na\r\n  ```\r\n", "a\r"),
        ("```\n```", ""),
        ("```\na\n`````", "a"),
        ("a", None),
        ("use ```a``` here", None),
        ("```a```", None),
        ("```\na", None),
        ("```\na\n``", None),
        ("```\na\n~~~", None),
        ("```\na\n```\n```\nb\n```", None),
        ("```\na\n```\n```", None),
        ("", None),
    ],
)
def test_content_of_the_only_fence(text, content):
    assert only_fenced(text) == content


@given(st.text(st.characters(exclude_characters="`~")), st.sampled_from(["", "sql", "python 3"]))
def test_what_stands_in_a_fence_is_read_as_it_is(content, language):
    assert only_fenced(f"Look:\n```{language}\n{content}\n```\nThat is all.") == content


@given(st.text(st.sampled_from("`~a \n")))
def test_any_text_is_read(text):
    assert only_fenced(text) is None or only_fenced(text) in text
