"""What would stand in the log again and again is said once, and counted."""

import logging
import sys

from distillery_trainer.runtime.repeated_lines import REPEATED, FirstOfItsKind, RepeatedLines
from distillery_trainer.runtime.row_errors import RowErrors


def test_the_first_line_of_a_kind_is_new_and_the_others_are_counted(capsys):
    lines = RepeatedLines()
    assert [lines.is_new("a", "A happened"), lines.is_new("a", "A again"), lines.is_new("b", "B happened")] == [
        True,
        False,
        True,
    ]
    assert not lines.is_new("a", "A again")
    lines.say_counts()
    lines.say_counts()
    assert capsys.readouterr().err == "2 more like this one: A happened\n"


def test_a_library_says_each_kind_of_sentence_once_whatever_its_numbers_are(capsys):
    logger, handler = logging.getLogger("some.library"), logging.StreamHandler(sys.stderr)
    handler.addFilter(FirstOfItsKind())
    logger.addHandler(handler)
    for step in range(30):
        logger.error("Step %d took 1.%d s.", step, step)
    logger.error("The cache is full.")
    logger.removeHandler(handler)
    REPEATED.say_counts()
    assert capsys.readouterr().err.splitlines() == [
        "Step 0 took 1.0 s.",
        "The cache is full.",
        "29 more like this one: Step 0 took 1.0 s.",
    ]


def test_every_handler_of_one_record_decides_alike(capsys):
    logger, handlers = logging.getLogger("another.library"), [logging.StreamHandler(sys.stderr) for _ in range(2)]
    for handler in handlers:
        handler.addFilter(FirstOfItsKind())
        logger.addHandler(handler)
    logger.error("Twice.")
    for handler in handlers:
        logger.removeHandler(handler)
    REPEATED.say_counts()
    assert capsys.readouterr().err == "Twice.\nTwice.\n"


def failure(row):
    try:
        raise ValueError(f"row {row}")
    except ValueError as error:
        return error


def test_one_failure_at_many_rows_has_one_traceback(capsys):
    errors = RowErrors()
    messages = [errors.message(f"train-{row}", failure(row)) for row in range(12)]
    assert messages[11].startswith("Distillery failed at this row (ValueError: row 11);")
    errors.message("train-99", KeyError("another failure"))
    REPEATED.say_counts()
    said = capsys.readouterr().err
    assert said.count("Traceback") == 1
    assert "Row train-99 is rejected, because this software failed at it:\nKeyError" in said
    assert said.endswith(
        "11 more like this one: a row is rejected, because this software failed at it (ValueError: row 0)\n"
    )
