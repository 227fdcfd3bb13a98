"""Stages as processes that begin in milliseconds: forks of one process that has loaded everything, and in which the
event loop's clock runs fast, so that pauses and time-outs of seconds take a fraction of that.

    with ForkedStages() as stages:
        stage = stages.begin(config_file, log_file)
        stage.send(signal.SIGKILL)
        assert stage.wait() == -9
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

CLOCK_SPEED = 60.0
"""Seconds of the event loop in one second."""
_LOADED = ("distillery_trainer.__main__", "distillery_trainer.stages.generate")


class ForkedStages:
    """The process that the stages are forks of. One stage at a time."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "ready"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe(self._process.stdin).close()
        self._process.wait()

    def begin(self, config_file: Path, log_file: Path) -> ForkedStage:
        """A generate stage that runs; what it says goes to the end of a file."""
        self._pipe(self._process.stdin).write(json.dumps([str(config_file), str(log_file)]) + "\n")
        self._pipe(self._process.stdin).flush()
        return ForkedStage(self, int(self._read()))

    def _read(self) -> str:
        line = self._pipe(self._process.stdout).readline()
        assert line, "the process that stages are forks of has ended"
        return line.strip()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class ForkedStage:
    """A stage that was begun."""

    def __init__(self, stages: ForkedStages, number: int) -> None:
        self._stages, self._number = stages, number

    def send(self, signal_number: int) -> None:
        """Send a signal; a stage that has ended does not mind."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._number, signal_number)

    def wait(self) -> int:
        """The exit code, or the number of the signal that ended it, below 0."""
        return int(self._stages._read())


# --- the process that the stages are forks of


class _FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / CLOCK_SPEED if timeout else timeout)


class _FastEventLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_FastSelector())

    def time(self) -> float:
        return super().time() * CLOCK_SPEED


class _FastEventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    _loop_factory: Any = _FastEventLoop


def _fork_on_demand() -> None:
    for name in _LOADED:
        importlib.import_module(name)
    importlib.import_module("distillery_trainer.text.languages").detect("A sentence that loads the model it takes.")
    asyncio.set_event_loop_policy(_FastEventLoopPolicy())
    gc.freeze()
    print("ready", flush=True)
    last = 0
    for line in sys.stdin:
        if last:
            os.waitpid(last, 0)
        last = number = os.fork()
        if number == 0:
            _run_stage(*json.loads(line))
        print(number, flush=True)
        # It keeps its number until it is waited for in full, so a late signal meets nobody else.
        ended = os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        killed = ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        print(-ended.si_status if killed else ended.si_status, flush=True)


def _run_stage(config_file: str, log_file: str) -> None:
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, replacement in ((0, nothing), (1, log), (2, log)):
        os.dup2(replacement, descriptor)
    main = importlib.import_module("distillery_trainer.__main__").main
    exit_code = 1
    try:
        exit_code = main(["generate", "--config", config_file])
    finally:
        sys.stderr.flush()
        os._exit(exit_code)


if __name__ == "__main__":
    _fork_on_demand()
