"""No text of a row or a reply, however strange, keeps a parser busy for long."""

import pytest

from linear_time import linear_time
from pathological_strings import LENGTH, PARSERS, STRINGS


@pytest.mark.parametrize("string", STRINGS)
def test_strings_are_64_kb(string):
    assert len(STRINGS[string]) == LENGTH


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("string", STRINGS)
def test_64_kb_are_read_in_linear_time(string, parser):
    PARSERS[parser]("x")  # loads its library
    with linear_time():
        PARSERS[parser](STRINGS[string])
