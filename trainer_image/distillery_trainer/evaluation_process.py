"""`python -m distillery_trainer.evaluation_process --config FILE --share FILE`: one of several processes of an
evaluation, which answers its share of the held-out rows. Standard output says how far it is, one byte for each reply.

Its replies lie in files of its own, each as soon as it is written. Where it fails, the stage's own process answers what
is left, and says why if it fails in the same way.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from distillery_api.run_config import RunConfig
from distillery_api.runtime.resilient_output import accept_every_character
from distillery_api.stage import Stage
from distillery_trainer.evaluation.model_replies import ModelReplies
from distillery_trainer.evaluation.model_requests import model_requests, read_held_out_rows
from distillery_trainer.evaluation.reply_processes import ALIVE, REPLIED, VISIBLE_GPUS
from distillery_trainer.evaluation.row_shares import Share
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.runtime.signals import end_with_parent
from distillery_trainer.student.device import choose_device
from distillery_trainer.tasks import task_for

_ALIVE_SECONDS = 1.0


class Reports:
    """What the stage's own process is told, in bytes."""

    def __init__(self) -> None:
        self._output = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints
        self._last = 0.0

    def replied(self, _: int) -> None:
        """One more reply is stored."""
        self._write(REPLIED)

    def alive(self) -> None:
        """Something was done, although no further reply is."""
        if time.monotonic() - self._last > _ALIVE_SECONDS:
            self._write(ALIVE)

    def _write(self, said: bytes) -> None:
        self._last = time.monotonic()
        os.write(self._output, said)


def main() -> int:
    """Answer the rows, and return the exit code."""
    accept_every_character()
    end_with_parent()
    parser = argparse.ArgumentParser(
        prog="evaluation_process", description="One of several processes of an evaluation."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--share", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    config, share, reports = RunConfig.read(options.config), Share.read(options.share), Reports()
    quiet_libraries()
    device = choose_device(share.processes)
    if device.is_cpu and os.environ[VISIBLE_GPUS]:
        sys.stderr.write(f"Process {share.process} of {share.processes} has no GPU that can be used.\n")
        return 1
    task = task_for(config)
    rows = read_held_out_rows(config.input_folder(Stage.GENERATE).test, task.metric)
    models = ModelReplies.of(config, device, reports.replied, reports.alive)
    for requests in model_requests(config, task, rows):
        models.answer_share(requests.systems, share, requests.open_model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
