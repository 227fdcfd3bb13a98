"""Why processes of a training were lost that left no result: what killed them, or which library gave up waiting."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_trainer.processes.node import Node
from distillery_trainer.runtime.errors import StageError, TryLater, UserError

_QUOTED = 300
"""Characters of a log's line."""
_TIMED_OUT = re.compile(
    r"Watchdog caught collective operation timeout|Timed out waiting \d+ ?ms|ran for \d+ milliseconds before timing out"
    r"|wait timeout after \d+ ?ms"
)
_NO_CONNECTION = re.compile(r"NCCL error|nccl\w*Error|Connection (closed|reset|refused)|connectFullMesh failed")


def lost_processes(
    exit_codes: Mapping[int, int], node: Node, logs: Path, error: BaseException | None = None
) -> StageError:
    """The error for processes that ended, by their ranks, with these exit codes (negative: of a signal) and no
    result."""
    killed = sorted(rank for rank, code in exit_codes.items() if code == -signal.SIGKILL)
    if killed:
        return UserError(
            f"{_named(killed, node)} killed, most likely because memory was exhausted. Lower training.batchSize or"
            " training.maxLength, or allow more memory.",
            reason=Reason.OUT_OF_MEMORY,
        )
    lines = list(_lines(logs))
    for pattern, message in (
        (
            _TIMED_OUT,
            "A process waited for the others longer than training.progressTimeout allows (a time-out of NCCL or gloo)."
            " The log of the one that is behind says what it did; with NCCL_DEBUG=INFO in training.podTemplate, NCCL"
            " says which network it uses",
        ),
        (_NO_CONNECTION, "The processes of the training lost the connection to each other"),
    ):
        found = next((line for line in lines if pattern.search(line)), None)
        if found:
            return TryLater(f"{message}: {cleaned(found, _QUOTED)}", reason=Reason.TRAINING_FAILED)
    ended = ", ".join(f"process {rank} with {_code(code)}" for rank, code in sorted(exit_codes.items()))
    detail = f" ended: {ended}" if ended else f" were lost: {cleaned(str(error), _QUOTED)}" if error else " were lost"
    last = f" ({cleaned(lines[-1], _QUOTED)})" if lines and ended else ""
    return TryLater(f"Processes of the training{detail}{last}.", reason=Reason.TRAINING_FAILED)


def _named(ranks: list[int], node: Node) -> str:
    total = node.processes * node.nodes
    listed = ", ".join(map(str, ranks))
    return f"Process {listed} of {total} was" if len(ranks) == 1 else f"Processes {listed} of {total} were"


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _lines(logs: Path) -> Iterable[str]:
    """What the processes of the last start printed, of all ranks."""
    starts = sorted(logs.glob("*/attempt_*"), key=lambda path: int(path.name.rpartition("_")[2]))
    for path in sorted(starts[-1].glob("*/stderr.log")) if starts else ():
        yield from (line for line in path.read_text(errors="replace").splitlines() if line.strip())
