"""How fast rows are generated, and in how much memory, beside a bare loop over the same client.

    python -m benchmarks.generation                                   speed, about two minutes
    python -m benchmarks.generation --rows 200000 --latency 0         peak memory

The teacher is a loopback server in a process of its own that takes `--latency` seconds a reply. Where the machine has
two cores, it is pinned to one and the client to the other. The two take turns, so that what else the machine does meets
both. Ours is the whole stage as a Job runs it: the rows checked, asked, journaled, parsed and written in order. Nothing
else should run meanwhile; the load is printed with the figures.
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VALIDATION_ROWS = TEST_ROWS = 50


@dataclass(frozen=True)
class Figures:
    """What one run took."""

    seconds: float
    """From the first row read to the last one written; without the start of the interpreter and imports."""
    cpu_seconds: float
    """Of the whole process."""
    peak_mebibytes: float


# --- processes


def pinned(core: int) -> list[str]:
    """A prefix that keeps a command on one core, where that is possible."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


@contextlib.contextmanager
def teacher(latency: float) -> Iterator[str]:
    """The address of a running teacher."""
    command = [*pinned(0), sys.executable, str(HERE / "server.py"), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.terminate()


def measured(command: Sequence[str]) -> tuple[str, float, float]:
    """A command's output, CPU seconds and peak memory in MiB. Raises RuntimeError where it fails."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*pinned(1), sys.executable, *command], stdout=output, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(errors.read())
        return output.read(), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


# --- the two contestants


def row(number: int) -> str:
    """A row about as long as those of ConjNLI."""
    premise = (
        f"On day {number} the committee met in the old town hall, and it was the first meeting that the mayor missed."
    )
    text = f"Premise: {premise}\nHypothesis: The mayor was at the meeting of day {number}, or so it was said."
    return json.dumps({"messages": [{"role": "user", "content": text}]})


def write_rows(folder: Path, rows: int) -> None:
    """Rows in three splits, and all of them in one file."""
    splits = {"train": rows - VALIDATION_ROWS - TEST_ROWS, "validation": VALIDATION_ROWS, "test": TEST_ROWS}
    numbers = iter(range(rows))
    with (folder / "all.jsonl").open("w") as everything:
        for split, count in splits.items():
            lines = "".join(row(number) + "\n" for number in itertools.islice(numbers, count))
            (folder / f"{split}.jsonl").write_text(lines)
            everything.write(lines)


def run_stage(folder: Path, url: str, concurrency: int) -> Figures:
    """The generate stage in a new workspace."""
    workspace = folder / "workspace"
    config = {
        "stage": "generate",
        "name": "benchmark",
        "folder": "generate-benchmark",
        "workspace": str(workspace),
        "basePath": str(folder),
        "task": "NLI",
        "labels": ["entailment", "neutral", "contradiction"],
        "data": {split: {"uri": f"{split}.jsonl"} for split in ("train", "validation", "test")},
        "generation": {
            "teachers": [{"name": "loopback", "endpoint": url, "model": "teacher"}],
            "concurrency": concurrency,
        },
        "student": {"model": {"uri": "none"}},
        "training": {},
        "metricsHost": "127.0.0.1",
        "metricsPort": 0,
        "terminationMessagePath": None,
    }
    (folder / "run.json").write_text(json.dumps(config))
    output, cpu, peak = measured([str(HERE / "stage_client.py"), str(folder / "run.json")])
    result = json.loads((workspace / "generate-benchmark" / "result.json").read_text())
    assert result["rows"]["rejected"] == 0
    shutil.rmtree(workspace)
    return Figures(json.loads(output)["seconds"], cpu, peak)


def run_bare(folder: Path, url: str, concurrency: int) -> Figures:
    """The bare loop."""
    data = str(folder / "all.jsonl")
    command = [str(HERE / "bare_client.py"), "--url", url, "--data", data, "--concurrency", str(concurrency)]
    output, cpu, peak = measured(command)
    return Figures(json.loads(output)["seconds"], cpu, peak)


# --- the table


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def compare(folder: Path, rows: int, latency: float, concurrency: int, runs: int) -> None:
    """Print both contestants at one concurrency, and the ratio of their speeds."""
    ours, bare = [], []
    with teacher(latency) as url:
        for _ in range(runs):
            ours.append(run_stage(folder, url, concurrency))
            bare.append(run_bare(folder, url, concurrency))
    ideal = concurrency / latency
    print(f"\nconcurrency {concurrency}: ideal {ideal:,.0f} rows a second; {rows:,} rows, {runs} runs, median (range)")
    print(f"{'':24}{'rows a second':>26}{'of the ideal':>22}{'CPU s / 1,000':>24}{'peak MiB':>18}")
    for name, figures in (("distillery, whole stage", ours), ("bare openai loop", bare)):
        speeds = [rows / run.seconds for run in figures]
        shares = [speed / ideal for speed in speeds]
        cpu = [run.cpu_seconds / rows * 1000 for run in figures]
        peak = [run.peak_mebibytes for run in figures]
        print(f"{name:24}{spread(speeds):>26}{spread(shares, 2):>22}{spread(cpu, 2):>24}{spread(peak):>18}")
    ratios = [other.seconds / mine.seconds for mine, other in zip(ours, bare, strict=True)]
    print(f"distillery / bare loop: {spread(ratios, 2)}")


def measure_memory(folder: Path, rows: int, concurrency: int) -> None:
    """Print the peak memory of the stage alone, with a teacher that answers at once."""
    with teacher(0.0) as url:
        figures = run_stage(folder, url, concurrency)
    speed = rows / figures.seconds
    print(f"{rows:,} rows: peak {figures.peak_mebibytes:,.0f} MiB, {speed:,.0f} rows a second, no latency")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument(
        "--latency", type=float, default=0.2, help="seconds a reply; 0 measures memory instead of speed"
    )
    parser.add_argument("--concurrency", default="100,400", help="one or more, separated by commas")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        write_rows(Path(name), chosen.rows)
        concurrencies = [int(number) for number in chosen.concurrency.split(",")]
        if not chosen.latency:
            measure_memory(Path(name), chosen.rows, concurrencies[0])
            return
        for concurrency in concurrencies:
            compare(Path(name), chosen.rows, chosen.latency, concurrency, chosen.runs)


if __name__ == "__main__":
    main()
