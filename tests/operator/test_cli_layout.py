"""Prose and tables in terminals of any width, and what is not a terminal."""

import io

import pytest
from rich.console import Console

from distillery_api.evaluation import Evaluation, Score
from distillery_operator.cli.layout import say, show_table
from distillery_operator.cli.progress_display import PlainLines, ProgressBars, run_display
from distillery_operator.cli.result_table import score_table

SENTENCE = "The student learned nothing beyond the most frequent answer; train it on more-than-100 rows."


def terminal(width, **environment):
    variables = {"TERM": "xterm", **environment}
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ=variables)


def said(console, *texts):
    for text in texts:
        say(console, text)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_no_word_of_a_sentence_is_broken_in_a_terminal(width):
    lines = said(terminal(width), SENTENCE).splitlines()
    assert " ".join(lines) == SENTENCE
    assert all(len(line) <= width or " " not in line for line in lines)


def test_commands_and_paths_are_left_whole():
    command = "  curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' -d '{}'"
    assert said(terminal(40), command) == f"{command}\n"


def test_a_pipe_gets_one_line_for_each_sentence():
    assert said(Console(file=io.StringIO(), width=40), SENTENCE) == f"{SENTENCE}\n"


def evaluation():
    figures = {"unreadable": 0.0, "prompt_tokens": 120, "answer_tokens": 2, "latency_seconds": 0.2}
    score = Score(score=0.81, low=0.75, high=0.9, **figures)
    return Evaluation(
        metric="accuracy", sample_size=100, held_out_from_validation=False, base=score, student=score, teacher=score
    )


def shown(width):
    console = terminal(width)
    show_table(console, score_table(evaluation()))
    return console.file.getvalue()


def test_a_table_that_fits_is_a_table():
    assert "Student" in next(line for line in shown(100).splitlines() if "0.810" in line and "Student" in line)


@pytest.mark.parametrize("width", [30, 45, 60])
def test_in_a_narrow_terminal_each_figure_has_a_line(width):
    text = shown(width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "Student student\n  Score: 0.810\n  95% CI: 0.75-0.90\n  No answer: 0.0%\n  Input tokens: 120\n" in text


@pytest.mark.parametrize(("name", "kind"), [("dumb", PlainLines), ("unknown", PlainLines), ("xterm", ProgressBars)])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(name, kind):
    with run_display(terminal(80, TERM=name), []) as listener:
        assert isinstance(listener, kind)
