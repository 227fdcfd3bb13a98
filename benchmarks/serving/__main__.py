"""Whether a served student answers as it did in the evaluation, on every row, with both runtimes.

    make quickstart test-vllm
    python -m benchmarks.serving runs/quickstart --vllm .venv-vllm

Each runtime is started as in a Pod on a CPU: Transformers as `distillery serve` does, vLLM with the operator's command.
Then it is asked every held-out row, one at a time, and some of them by eight clients at once.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from distillery_api.paths import Artefact, Workspace
from distillery_operator.local.run_result import read_run_result
from distillery_operator.local.student_server import student_server
from distillery_trainer.verification.evaluated_rows import EvaluatedRow, evaluated_rows
from distillery_trainer.verification.served_student import ServedReply, ServedStudent
from vllm_server import NAME, free_port, vllm_server

CLIENTS = 8
CONCURRENT_ROWS = 64
MAX_TOKENS = 64


def main() -> None:
    """Print one line for each runtime."""
    options = parse_arguments()
    rows = rows_of(options.run)
    print(f"{len(rows)} rows\n")
    print("| runtime | same text | score, evaluated | score, served | seconds per request | 90 % below | 8 clients |")
    print("|---|---|---|---|---|---|---|")
    with transformers_server(options.run) as student:
        print(measured("Transformers", student, rows), flush=True)
    if options.vllm:
        with vllm_student(options) as student:
            print(measured("VLLM", student, rows), flush=True)


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description="Served against measured answers.")
    parser.add_argument("run", type=Path, help="folder of a run of the quickstart")
    parser.add_argument("--vllm", type=Path, help="virtual environment with vLLM for CPUs")
    return parser.parse_args()


def rows_of(run: Path) -> list[tuple[EvaluatedRow, str]]:
    """The rows that the student replied to, with their gold."""
    files = artefacts(run)
    [test] = run.glob("generate-*/test.jsonl")
    rows = evaluated_rows(test, run / files[Artefact.PREDICTIONS])
    gold = {row.id: row.gold for row in held_out(test)}
    return [(row, str(gold[row.id])) for row in rows]


def held_out(test: Path):
    """The held-out rows."""
    from distillery_trainer.data.rows import HeldOutRow
    from distillery_trainer.runtime.files import read_rows

    return map(HeldOutRow.read, read_rows(test))


def artefacts(run: Path) -> dict[Artefact, str]:
    """The files of a finished run."""
    result = read_run_result(Workspace(run).result)
    if result is None:
        raise SystemExit(f"{run} is not the folder of a run")
    return dict(result.files)


@contextlib.contextmanager
def transformers_server(run: Path) -> Iterator[ServedStudent]:
    """The server of `distillery serve`."""
    server = student_server(run, "127.0.0.1", free_port())
    with subprocess.Popen(server.command(), stderr=subprocess.DEVNULL) as process:
        while not server.answers():
            time.sleep(0.5)
        yield ServedStudent(f"{server.url}/v1", server.name, MAX_TOKENS)
        process.terminate()


@contextlib.contextmanager
def vllm_student(options: argparse.Namespace) -> Iterator[ServedStudent]:
    """The server of a Pod with the runtime VLLM."""
    model = (options.run / artefacts(options.run)[Artefact.MODEL]).resolve()
    programs = options.vllm.resolve() / "bin"
    with tempfile.TemporaryDirectory() as folder, vllm_server(programs, model, Path(folder, "log.txt")) as server:
        yield ServedStudent(f"{server.address}/v1", NAME, MAX_TOKENS)


def measured(runtime: str, student: ServedStudent, rows: list[tuple[EvaluatedRow, str]]) -> str:
    """A line of the table."""
    student.ask(rows[0][0].messages)  # the first request of a server is slower
    replies = [student.ask(row.messages) for row, _ in rows]
    same = sum(
        reply.text is not None and reply.text.strip() == row.reply.strip() for (row, _), reply in paired(rows, replies)
    )
    evaluated = sum(row.reply.strip() == gold for row, gold in rows) / len(rows)
    served = sum((reply.text or "").strip() == gold for (_, gold), reply in paired(rows, replies)) / len(rows)
    seconds = sorted(reply.seconds for reply in replies)
    rate = requests_per_second(student, rows)
    return (
        f"| {runtime} | {same} of {len(rows)} | {evaluated:.3f} | {served:.3f} | {median(seconds):.3f}"
        f" | {seconds[int(0.9 * len(seconds))]:.3f} | {rate:.1f} requests/s |"
    )


def paired(rows: list[tuple[EvaluatedRow, str]], replies: list[ServedReply]):
    """Each row with its reply."""
    return zip(rows, replies, strict=True)


def requests_per_second(student: ServedStudent, rows: list[tuple[EvaluatedRow, str]]) -> float:
    """How many requests a second are answered to CLIENTS clients."""
    some, started = rows[:CONCURRENT_ROWS], time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda row: student.ask(row[0].messages), some))
    return len(some) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
