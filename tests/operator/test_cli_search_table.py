"""The table of a search's trials."""

import io
from pathlib import Path

from rich.console import Console

from distillery_operator.cli.result_table import show_result
from distillery_operator.local.run_result import RunResult


def shown(search, width=100):
    figures = {"steps": 9, "trainLoss": 0.1, "validationLoss": 0.2, "trainableParameters": 9, "device": "cpu"}
    result = {
        "name": "conjnli",
        "state": "Done",
        "reason": "Succeeded",
        "training": {**figures, "seconds": 61.2, "search": search},
    }
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_result(console, RunResult.model_validate(result), Path("runs/conjnli"))
    return console.file.getvalue()


def test_the_trials_of_a_search_stand_in_a_table_the_student_first():
    trials = [
        {"learningRate": 0.001, "epochs": 6, "score": 0.91, "loss": 0.2, "seconds": 61.2},
        {"learningRate": 0.0003, "epochs": 6, "score": 0.88, "loss": 0.31, "seconds": 59.0},
        {"learningRate": 0.1, "epochs": 3, "failure": "Diverged"},
    ]
    search = {"combinations": 6, "trained": 2, "failed": 1, "seconds": 120.2, "trials": trials}
    text = shown(search)
    assert "Search: 3 trials of 6 combinations in 2 min, the best one is the student" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["student", "0.001", "6", "0.910", "0.2000", "1", "min", "1", "s"] in lines
    assert ["2", "0.0003", "6", "0.880", "0.3100", "59", "s"] in lines
    assert ["3", "0.1", "3", "diverged"] in lines
    assert "Rank" not in text
    assert "student\n  Learning rate: 0.001\n  Epochs: 6\n" in shown(search, 50)


def test_long_answers_have_no_score():
    trials = [{"rank": 8, "loss": 0.2, "seconds": 5.0}, {"rank": 64, "loss": 0.3, "seconds": 6.0}]
    text = shown({"combinations": 2, "trained": 2, "seconds": 11.0, "trials": trials})
    assert "score" not in text
    assert "Search: 2 trials in 11 s, the best one is the student" in text
    assert ["2", "64", "0.3000", "6", "s"] in [line.split() for line in text.splitlines()]


def test_trials_that_the_time_cut_short_or_left_out_are_said():
    trials = [{"rank": 8, "loss": 0.2, "seconds": 5.0}, {"rank": 64, "loss": 0.3, "seconds": 6.0, "isOverTime": True}]
    search = {"combinations": 8, "trained": 2, "leftOut": 2, "seconds": 11.0, "trials": trials}
    text = shown(search, 80)
    assert "Search: 2 of 4 trials in 11 s, until maxDuration was over" in text
    assert "cut short" in text


def test_without_a_search_there_is_no_table():
    assert "Search" not in shown(None)
