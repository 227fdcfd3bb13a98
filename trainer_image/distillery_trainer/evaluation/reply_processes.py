"""The replies of an evaluation by several processes, each with a GPU of its own: each answers a share of the rows, and
stores the replies in files of its own, which are then joined.

What is left when they have ended is done by the stage's own process: the latencies, and the rows of a process that was
lost.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from distillery_api.paths import CONFIG_FILE
from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder
from distillery_trainer.evaluation.model_requests import SystemRequests
from distillery_trainer.evaluation.reply_files import ReplyFile
from distillery_trainer.evaluation.row_shares import Share, shares
from distillery_trainer.runtime.stage_metrics import ProgressReporter

MODULE = "distillery_trainer.evaluation_process"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
REPLIED, ALIVE = b"r", b"."
"""What a process writes for each reply, and now and then while it works on one."""
_READ_BYTES = 4096


def answer_in_processes(
    config: RunConfig, all_requests: Sequence[SystemRequests], processes: int, progress: ProgressReporter
) -> None:
    """Have the rows without a reply answered by so many processes. Raises UserError if the volume is not writable."""
    folder = config.stage_folder
    make_folder(folder.path, private=True)
    missing = {
        requests.system: ReplyFile.open(folder.system_replies(requests.stored_as), len(requests.prompts)).missing
        for requests in all_requests
    }
    left = sum(map(len, missing.values()))
    if left < processes:
        return
    total = sum(len(requests.prompts) for requests in all_requests)
    with _started(config, shares(missing, processes)) as started:
        _follow(started, total - left, total, progress)
        for number, process in enumerate(started):
            if code := process.wait():
                sys.stderr.write(
                    f"Process {number} of {processes} ended with {_code(code)}. The rows that it left are answered by"
                    " one process.\n"
                )


@contextlib.contextmanager
def _started(config: RunConfig, all_shares: Sequence[Share]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """One process for each share, until the end of the block."""
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / CONFIG_FILE
        path.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
        try:
            for share, gpu in zip(all_shares, _gpus(len(all_shares)), strict=True):
                file = Path(scratch) / f"share-{share.process}.json"
                file.write_text(share.model_dump_json(by_alias=True))
                command = [sys.executable, "-m", MODULE, "--config", str(path), "--share", str(file)]
                environment = {**os.environ, VISIBLE_GPUS: gpu}
                process = subprocess.Popen(  # noqa: S603 - our own interpreter
                    command, stdout=subprocess.PIPE, env=environment, process_group=0
                )
                started.append(process)
            yield started
        finally:
            for process in started:
                process.kill()
                process.communicate()


def _gpus(processes: int) -> list[str]:
    """The GPU that each process sees; none where this process is to see none."""
    visible = os.environ.get(VISIBLE_GPUS)
    if visible is None:
        return [str(number) for number in range(processes)]
    named = [each.strip() for each in visible.split(",") if each.strip()]
    return [named[number] if number < len(named) else "" for number in range(processes)]


def _follow(started: Sequence[subprocess.Popen[bytes]], done: int, total: int, progress: ProgressReporter) -> None:
    """Report how far the processes are, until all have ended."""
    progress.update(done, total, "answers")
    with selectors.DefaultSelector() as selector:
        for process in started:
            if process.stdout is not None:
                selector.register(process.stdout, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                said = os.read(key.fd, _READ_BYTES)
                if not said:
                    selector.unregister(key.fileobj)
                done += said.count(REPLIED)
                progress.update(done, total, "answers")
                progress.alive()


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
