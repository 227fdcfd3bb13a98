"""How long the search for near duplicates takes, in how much memory, and what it finds, beside datasketch's MinHashLSH.

    python -m benchmarks.filters                          beside the peer, then a million rows; some minutes
    python -m benchmarks.filters --rows 100000 --beside 5000

Rows have 80 words, the first 20 the same in each. Every tenth one is an earlier one with another end, so what is alike
is known exactly: the columns on the right have the share of such rows that was found, by their similarity, and how many
other rows were. Both are given the rows one by one from a file, with 128 ranks and the threshold 0.8, and one core. The
peer is installed into a folder of its own for the run.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEER = "datasketch==2.0.0"
WORDS = [f"word{number}" for number in range(30_000)]
TEMPLATE = " ".join(random.Random("template").choices(WORDS, k=20))
LENGTH = 60
STEP = 10


@dataclass(frozen=True)
class Figures:
    """What one search took and found."""

    seconds: float
    peak_mebibytes: float
    found: set[int]
    """Numbers of the rows that are like an earlier one."""


# --- the rows


def changed_words(number: int) -> int:
    """How many of the last words a row has changed: 0 for a row of its own, 1 to 12 for a changed one."""
    return 1 + number // STEP % 12 if number % STEP == STEP - 1 else 0


def row(number: int) -> str:
    """The text of a row."""
    changed = changed_words(number)
    words = random.Random(number - STEP // 2 if changed else number).choices(WORDS, k=LENGTH)
    words[LENGTH - changed :] = random.Random(-number).choices(WORDS, k=changed)
    return f"{TEMPLATE} {' '.join(words)}"


def similarity(changed: int) -> float:
    """Jaccard similarity of the three-word phrases of a row and the one that it was made of."""
    phrases = 20 + LENGTH - 2
    return (phrases - changed) / (phrases + changed)


# --- the two searches


def search(program: str, rows: Path, path: Sequence[str] = ()) -> Figures:
    """Run a search over a file of rows. Raises RuntimeError where it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "RAYON_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, str(HERE / program), str(rows)], stdout=output, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{program} failed")
        output.seek(0)
        answer = json.load(output)
    return Figures(answer["seconds"], used.ru_maxrss / 1024, set(answer["found"]))


def share_found(figures: Figures, rows: int, low: float, high: float) -> str:
    """Which share of the changed rows with such a similarity was found."""
    there = [
        number for number in range(rows) if (changed := changed_words(number)) and low <= similarity(changed) < high
    ]
    return f"{len(figures.found & set(there)) / len(there):.3f}" if there else "-"


def write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(f"{row(number)}\n" for number in range(rows))


def show(name: str, figures: Figures, rows: int) -> None:
    strangers = sum(not changed_words(number) for number in figures.found)
    shares = [share_found(figures, rows, *limits) for limits in ((0.85, 1.0), (0.8, 0.85), (0.75, 0.8), (0.0, 0.75))]
    speed = f"{rows / figures.seconds:,.0f}"
    print(f"{name:24}{figures.seconds:>10,.1f}{speed:>14}{figures.peak_mebibytes:>10,.0f}", end="")
    print("".join(f"{share:>13}" for share in shares) + f"{strangers:>13,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filters", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for this project alone")
    parser.add_argument("--beside", type=int, default=20_000, help="rows for both; 0 leaves the peer out")
    chosen = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        rows, peer = Path(name) / "rows.txt", Path(name) / "peer"
        titles = ("0.85 to 1", "0.8 to 0.85", "0.75 to 0.8", "below", "strangers")
        print(
            f"{'':24}{'seconds':>10}{'rows a second':>14}{'peak MiB':>10}" + "".join(f"{title:>11}" for title in titles)
        )
        if chosen.beside:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(peer), PEER]
            subprocess.run(command, check=True)
            write_rows(rows, chosen.beside)
            show("datasketch MinHashLSH", search("datasketch_search.py", rows, [str(peer)]), chosen.beside)
            show("distillery", search("our_search.py", rows), chosen.beside)
        write_rows(rows, chosen.rows)
        show("distillery", search("our_search.py", rows), chosen.rows)


if __name__ == "__main__":
    main()
