"""How fast rows are generated, and in how much memory, beside bare loops and libraries of the same kind.

    python -m benchmarks.generation                          speed, beside bare loops over aiohttp and openai
    python -m benchmarks.generation --peers distilabel,curator
    python -m benchmarks.generation disturbed                5 % of the requests get 429 (Retry-After: 1), 1 % get 500
    python -m benchmarks.generation resume                   how soon 200,000 finished rows are skipped
    python -m benchmarks.generation memory                   peak memory of 250,000 and of 1,000,000 rows

The teacher is a loopback server in a process of its own that takes `--latency` seconds a reply. Where the machine has
two cores, it is pinned to one and the client to the other. The clients take turns, so that what else the machine
does meets all of them. Ours is the whole stage as a Job runs it: the rows checked, screened for duplicates, asked,
journaled, parsed and written in order. Nothing else should run meanwhile; the load is printed with the figures.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.generation.clients import CLIENTS, TITLES, run_stage, run_stage_again
from benchmarks.generation.measuring import HELD_OUT_ROWS, Figures, print_head, print_line, row, teacher, write_rows

LIMITED, BROKEN = 0.05, 0.01
NEW_ROWS = 100


def compare(folder: Path, names: Sequence[str], chosen: argparse.Namespace, concurrency: int) -> None:
    """Print the clients at one concurrency, and how many times as fast as each of the others we are."""
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    with teacher(chosen.latency) as url:
        for _ in range(chosen.runs):
            for name, figures in runs.items():
                figures.append(CLIENTS[name](folder, url, concurrency))
    ideal = concurrency / chosen.latency
    rows = chosen.rows
    print(f"\nconcurrency {concurrency}: ideal {ideal:,.0f} rows a second; {rows:,} rows, {chosen.runs} runs, median")
    print_head()
    for name, figures in runs.items():
        print_line(TITLES.get(name, name), figures, rows, ideal)
    ours = statistics.median(run.seconds for run in runs["distillery"])
    others = {name: statistics.median(run.seconds for run in runs[name]) for name in names if name != "distillery"}
    print("distillery is", ", ".join(f"{seconds / ours:.2f} times {name}" for name, seconds in others.items()))


def disturb(folder: Path, names: Sequence[str], chosen: argparse.Namespace, concurrency: int) -> None:
    """Print what disturbances cost each client."""
    ideal = concurrency / chosen.latency
    print(f"\nconcurrency {concurrency}, {LIMITED:.0%} 429 with Retry-After: 1, {BROKEN:.0%} 500; {chosen.rows:,} rows")
    print_head()
    for name in names:
        calm, rough = [], []
        with teacher(chosen.latency) as url, teacher(chosen.latency, limited=LIMITED, broken=BROKEN) as disturbed:
            for _ in range(chosen.runs):
                calm.append(CLIENTS[name](folder, url, concurrency))
                rough.append(CLIENTS[name](folder, disturbed, concurrency))
        print_line(TITLES.get(name, name), calm, chosen.rows, ideal)
        print_line("  disturbed", rough, chosen.rows, ideal)
        kept = statistics.median(run.seconds for run in calm) / statistics.median(run.seconds for run in rough)
        print(f"  {kept:.0%} of the undisturbed speed")


def resume(folder: Path, rows: int) -> None:
    """Print how long a second run takes to pass over finished rows, and to answer a few new ones behind them."""
    with teacher(0.0) as url:
        run_stage(folder, url, 100)
        (folder / "workspace" / "generate-benchmark" / "result.json").unlink()
        with (folder / "test.jsonl").open("a") as file:
            file.writelines(row(number) + "\n" for number in range(rows, rows + NEW_ROWS))
        figures = run_stage_again(folder, url, 100)
    print(
        f"{rows:,} finished rows, then {NEW_ROWS} new ones: {figures.seconds:.1f} s, {figures.peak_mebibytes:,.0f} MiB"
    )


def measure_memory(folder: Path, rows: int) -> None:
    """Print the peak memory of the stage alone, with a teacher that answers at once."""
    for count in (rows // 4, rows):
        write_rows(folder, count)
        with teacher(0.0) as url:
            figures = run_stage(folder, url, 100)
        speed = count / figures.seconds
        print(f"{count:,} rows: peak {figures.peak_mebibytes:,.0f} MiB, {speed:,.0f} rows a second", flush=True)


USUAL_ROWS = {"speed": 6000, "disturbed": 6000, "resume": 200_000, "memory": 1_000_000}


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=list(USUAL_ROWS), default="speed")
    parser.add_argument("--rows", type=int, help=f"rows of a run, {HELD_OUT_ROWS} of validation and test among them")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds a reply (default 0.2)")
    parser.add_argument("--concurrency", default="100,400", help="one or more, separated by commas")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default="aiohttp,openai", help="some of aiohttp, openai, distilabel, curator")
    chosen = parser.parse_args()
    chosen.rows = chosen.rows or USUAL_ROWS[chosen.what]
    return chosen


def main() -> None:
    """Run one of the benchmarks."""
    chosen = parse_arguments()
    names = ["distillery", *filter(None, chosen.peers.split(","))]
    concurrencies = [int(number) for number in chosen.concurrency.split(",")]
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.what == "memory":
            measure_memory(folder, chosen.rows)
            return
        write_rows(folder, chosen.rows)
        if chosen.what == "resume":
            resume(folder, chosen.rows)
        elif chosen.what == "disturbed":
            disturb(folder, names, chosen, concurrencies[0])
        else:
            for concurrency in concurrencies:
                compare(folder, names, chosen, concurrency)


if __name__ == "__main__":
    main()
