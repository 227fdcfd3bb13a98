"""What every benchmark here needs: rows, a teacher on a core of its own, and what a process used."""

import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HELD_OUT_ROWS = 100
"""Of validation and of test."""


@dataclass(frozen=True)
class Figures:
    """What one run took."""

    seconds: float
    """From the first row read to the last one written; without the start of the interpreter and imports."""
    cpu_seconds: float
    """Of the process and those that it started, imports included."""
    peak_mebibytes: float
    rows: int
    """Rows that got an answer."""


def pinned(core: int) -> list[str]:
    """A prefix that keeps a command on one core, where that is possible."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


@contextlib.contextmanager
def teacher(latency: float, *, limited: float = 0.0, broken: float = 0.0) -> Iterator[str]:
    """The address of a running teacher that turns some shares of the requests away (429) or fails (500)."""
    chosen = ["--latency", str(latency), "--limited", str(limited), "--broken", str(broken)]
    command = [*pinned(0), sys.executable, str(HERE / "server.py"), *chosen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.terminate()


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Figures:
    """Run a client, a Python program that prints its seconds and rows as the last line, as JSON.

    Raises RuntimeError where it fails.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        variables = {**os.environ, **(environment or {})}
        process = subprocess.Popen([*pinned(1), *command], stdout=output, stderr=errors, env=variables)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(errors.read()[-4000:])
        said = json.loads(output.read().strip().splitlines()[-1])
        return Figures(said["seconds"], used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said["rows"])


# --- rows


def row(number: int) -> str:
    """A row about as long as those of ConjNLI."""
    premise = (
        f"On day {number} the committee met in the old town hall, and it was the first meeting that the mayor missed."
    )
    text = f"Premise: {premise}\nHypothesis: The mayor was at the meeting of day {number}, or so it was said."
    return json.dumps({"messages": [{"role": "user", "content": text}]})


def write_rows(folder: Path, rows: int) -> None:
    """Rows in three splits, and all of them in one file."""
    splits = {"train": rows - 2 * HELD_OUT_ROWS, "validation": HELD_OUT_ROWS, "test": HELD_OUT_ROWS}
    numbers = iter(range(rows))
    with (folder / "all.jsonl").open("w") as everything:
        for split, count in splits.items():
            with (folder / f"{split}.jsonl").open("w") as file:
                for number in itertools.islice(numbers, count):
                    line = row(number) + "\n"
                    file.write(line)
                    everything.write(line)


# --- the table


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def print_head() -> None:
    """The table's first line."""
    print(f"{'':26}{'rows a second':>24}{'of the ideal':>22}{'CPU s / 1,000':>22}{'peak MiB':>20}{'lost':>8}")


def print_line(name: str, figures: Sequence[Figures], rows: int, ideal: float) -> None:
    """A client's line."""
    speeds = [rows / run.seconds for run in figures]
    shares = [speed / ideal for speed in speeds]
    cpu = [run.cpu_seconds / rows * 1000 for run in figures]
    peak = [run.peak_mebibytes for run in figures]
    lost = sum(rows - run.rows for run in figures)
    print(f"{name:26}{spread(speeds):>24}{spread(shares, 2):>22}{spread(cpu, 2):>22}{spread(peak):>20}{lost:>8,}")
