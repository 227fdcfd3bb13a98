"""How many of the hand-written replies of each task are read, unreadable, or read wrongly.

python -m benchmarks.precision              the table of docs/results.md
python -m benchmarks.precision --missed     and each reply whose answer is not read, or read wrongly
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

from reply_precision import TASKS, Precision, measure


def table_line(name: str, precision: Precision) -> str:
    """The figures of one task, as a line of a Markdown table."""
    total, answered = len(precision.readings), precision.with_answer
    silent = total - answered
    unreadable = silent - sum(reading.sample.says is None for reading in precision.wrong)
    figures = [
        total,
        answered,
        f"{precision.read_right} ({precision.read_right / answered:.1%})",
        len(precision.missed),
    ]
    cells = [TASKS[name], *figures, silent, unreadable, len(precision.wrong)]
    return f"| {' | '.join(map(str, cells))} |"


def show_missed(precision: Precision) -> None:
    for reading in [*precision.wrong, *precision.missed]:
        read = "unreadable" if reading.answer is None else repr(reading.answer)
        print(f"    line {reading.line}: {reading.sample.reply!r} says {reading.sample.says!r}, read as {read}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.splitlines()[0])
    parser.add_argument("--missed", action="store_true", help="list the replies whose answer is not read")
    show = parser.parse_args().missed
    print("| task | replies | with an answer | read right | unreadable | without one | unreadable | read wrongly |")
    print("|---|---|---|---|---|---|---|---|")
    for name in TASKS:
        precision = measure(name)
        print(table_line(name, precision))
        if show:
            show_missed(precision)


if __name__ == "__main__":
    main()
