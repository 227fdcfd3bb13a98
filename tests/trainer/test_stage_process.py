"""`python -m distillery_trainer`: bad configs, and what is written however a stage ends."""

import json

import pytest

from distillery_trainer.__main__ import main
from distillery_trainer.runtime.files import write_atomically
from generate_run import GenerateRun, gold_of, nli_row, nli_rows
from teacher_server import gold_teacher


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not a valid stage configuration:\n  the file: Invalid JSON"),
        (b"\xff\xfe", "is not UTF-8 text."),
        (b"{}", "  stage: Field required"),
    ],
)
def test_invalid_config_is_explained(tmp_path, capsys, content, words):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    assert main(["generate", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_missing_config_is_explained(tmp_path, capsys):
    assert main(["generate", "--config", str(tmp_path / "gone.json")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/gone.json: No such file or directory.\n"


def test_config_of_another_stage_is_rejected(tmp_path, capsys):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1")
    assert main(["train", "--config", str(run.config_file)]) == 2
    assert capsys.readouterr().err.endswith(
        "run.json is the configuration of the generate stage, not of the train stage.\n"
    )


def test_broken_result_of_an_earlier_attempt_is_replaced(tmp_path):
    rows = nli_rows(12), nli_rows(6, 100), nli_rows(3, 200)
    with gold_teacher(gold_of(*rows)) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        write_atomically(run.workspace / run.folder / "result.json", b'{"state": "Do')
        assert run.run().state == "Done"


def test_result_has_the_times_of_the_attempt(tmp_path):
    result = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b"").run()
    assert result.start_time <= result.completion_time


def test_termination_message_that_cannot_be_written_is_only_reported(tmp_path, capsys):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b"")
    run.config = {"terminationMessagePath": str(tmp_path / "gone" / "log")}
    assert run.run().exit_code == 2
    assert "The termination message could not be written" in capsys.readouterr().err


def test_long_message_is_cut_for_the_termination_message(tmp_path):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=[nli_row(n, gold=f"{n}{'x' * 80}") for n in range(40)])
    assert len(run.run().message) > 1500
    assert len(run.termination_message.encode()) <= 2048
    assert json.loads(run.termination_message)["reason"] == "InvalidData"
