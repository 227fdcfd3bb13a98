"""The memory of the generate stage does not grow with its rows."""

import subprocess
import sys
from pathlib import Path

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.data.rows import Row
from distillery_trainer.tasks import task_for
from generate_run import GENERATE_AND_PRINT_PEAK, GenerateRun, nli_row, nli_rows


def peak_mebibytes(folder: Path, rows: int) -> float:
    """Peak memory of a stage whose replies are all in the journal, with rows of 2 kB."""
    folder.mkdir()
    train = [nli_row(number, id=f"row-{number}", metadata={"note": "x" * 1800}) for number in range(rows)]
    validation, test = nli_rows(2, 90_000), nli_rows(2, 95_000)
    run = GenerateRun(folder, "http://127.0.0.1:9/v1", train=train, validation=validation, test=test)
    config = RunConfig.read(run.config_file)
    task = task_for(config)
    sampling = task.request_parameters()
    keys = ReplyKeys("teacher", sampling)
    with ReplyJournal(run.workspace / "replies", "generate-earlier") as journal:
        for row in [*train, *validation, *test]:
            messages = task.teacher_messages(Row("train", 1, "x", row["messages"]))
            journal.add_reply(keys.key(messages), Reply("neutral", "stop"), Spending())
    command = [sys.executable, "-c", GENERATE_AND_PRINT_PEAK, str(run.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.result.splits["train"].kept == rows
    return int(done.stdout) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    few, many = peak_mebibytes(tmp_path / "few", 1_000), peak_mebibytes(tmp_path / "many", 20_000)
    # 19,000 more rows are 40 MB of file. Only a row's position in the journal stays in memory, 16 bytes.
    assert many - few < 8
