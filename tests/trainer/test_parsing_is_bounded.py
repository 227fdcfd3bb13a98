"""Numbers and structured replies of 64 KB are read within a second, whatever they contain."""

import pytest

from distillery_trainer.text.faithfulness import numbers_not_in_source
from linear_time import linear_time
from task_definitions import task_definition

SIZE = 64 * 1024
MATH = task_definition("Math")
ROUNDS = task_definition("Summarization", chainOfDensity=True)
PATTERNS = [
    *(
        "1",
        "9 ",
        "1,",
        "1.",
        "1 111",
        "1'",
        "1_",
        "-",
        "- 1",
        "1/",
        "1/1 ",
        "1e",
        "1e5e",
        "$",
        "$1",
        "1st ",
        "=",
        "1=",
        "x=",
    ),
    *(
        "\\frac{",
        "\\frac{1}{2}",
        "\\boxed{",
        "\\boxed{1} ",
        "\\boxed{{}",
        "\\text{",
        "\\text{1} ",
        "{",
        "{}",
        "[",
        "[]",
        "(",
        "()",
    ),
    *(
        "{[",
        '{"a":',
        '{"a":[',
        '"',
        "\\",
        '\\"',
        "'",
        '{"answer": 1}',
        '{"answer": 1',
        '{"answer": "',
        '{"a": 1, ',
        "{'a': ",
        "}{",
    ),
    *(
        "answer is ",
        "the answer is 5. ",
        "answer:",
        "#### ",
        "#### 5 ",
        "**",
        "*a",
        "* ",
        "__",
        "`",
        "```",
        "```\n",
        "minus ",
        "not ",
    ),
    *(
        "\u00bd",
        "\u0663",
        "\u00b2",
        "10^",
        "10\u00b2",
        "\u00a01",
        " ",
        "\n",
        "\t",
        "a",
        "1a",
        "a1",
        "1 a",
        "is 5 ",
        "costs ",
        "\ud800",
    ),
    *(
        "\\u",
        "\\ud800",
        "[1,",
        "[[1],",
        "//",
        "/*",
        "# ",
        "true",
        "null,",
        ": ",
        ",",
        ",\n",
        "1:",
        "1 or ",
        "5 in ",
        "... ",
    ),
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("wrap", ["{}", '{{"answer": "{}"}}'])
def test_64_kilobytes_of_anything_are_read_in_linear_time(pattern, wrap):
    text = wrap.format((pattern * SIZE)[: SIZE // max(1, len(pattern[0].encode(errors="replace")))])
    for read in (read_math, read_rounds, read_summary):
        with linear_time():
            read(text)


def read_math(text: str) -> None:
    MATH.read_answer(text, "")


def read_rounds(text: str) -> None:
    ROUNDS.read_teacher_answer(text, "")


def read_summary(text: str) -> None:
    numbers_not_in_source(text, "")
