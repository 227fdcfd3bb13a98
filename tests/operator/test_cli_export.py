"""`distillery export`: the rows of a run as chats."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distillery_operator.cli.app import app
from distillery_operator.local.export import chat_rows


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Runs `distillery export` in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["export", *arguments])


def turn(role, content):
    return {"role": role, "content": content}


def row(name, prompt, completion):
    return {"id": name, "prompt": prompt, "completion": [turn("assistant", completion)], "teacher": "big"}


ROW = row("a", [turn("system", "Be short."), turn("user", "Q")], "A")
CHAT = {"id": "a", "messages": [turn("system", "Be short."), turn("user", "Q"), turn("assistant", "A")]}


def test_row_becomes_a_chat():
    assert list(chat_rows([ROW])) == [CHAT]


def test_tools_stand_beside_the_messages():
    assert list(chat_rows([{**ROW, "tools": [{"type": "function"}]}])) == [{**CHAT, "tools": [{"type": "function"}]}]


def test_dialogue_becomes_one_chat_with_all_turns():
    first, second = [turn("user", "1")], [turn("user", "1"), turn("assistant", "one"), turn("user", "2")]
    rows = [row("d", first, "one"), row("d", second, "two"), row("e", first, "one")]
    assert [len(chat["messages"]) for chat in chat_rows(rows)] == [4, 2]


def test_turns_after_other_answers_are_separate_chats():
    second = [turn("user", "1"), turn("assistant", "not one"), turn("user", "2")]
    assert len(list(chat_rows([row("d", [turn("user", "1")], "one"), row("d", second, "two")]))) == 2


def stored(folder, *rows):
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_export_finds_the_rows_of_a_run(export):
    stored(Path("runs/x/generate-a"), ROW, ROW | {"id": "b"})
    files = {"train": "generate-a/train.jsonl"}
    Path("runs/x/result.json").write_text(
        json.dumps({"name": "x", "state": "Done", "reason": "Succeeded", "files": files})
    )
    result = export("runs/x", "--output", "out/rows.jsonl")
    assert (result.exit_code, result.stdout) == (0, "Wrote 2 chat rows to out/rows.jsonl.\n")
    assert json.loads(Path("out/rows.jsonl").read_text().splitlines()[0]) == CHAT


def test_export_to_standard_output_prints_nothing_else(export):
    stored(Path("generate-a"), ROW)
    assert json.loads(export("generate-a", "--output", "-").stdout) == CHAT


def test_export_writes_to_the_file_that_a_link_leads_to(export):
    stored(Path("generate-a"), ROW)
    Path("elsewhere").mkdir()
    Path("link.jsonl").symlink_to("elsewhere/rows.jsonl")
    assert export("generate-a", "--output", "link.jsonl").exit_code == 0
    assert Path("link.jsonl").is_symlink()
    assert json.loads(Path("elsewhere/rows.jsonl").read_text()) == CHAT


def test_export_writes_into_a_pipe_that_stays_one(export):
    stored(Path("generate-a"), ROW)
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert export("generate-a", "--output", "pipe").exit_code == 0
    assert json.loads(os.read(reader, 10_000)) == CHAT
    assert Path("pipe").is_fifo()
    os.close(reader)


def test_export_writes_into_the_pipe_that_a_shell_names(tmp_path):
    stored(tmp_path / "generate-a", ROW)
    command = [sys.executable, "-c", "from distillery_operator.cli import main; main()", "export"]
    arguments = [str(tmp_path / "generate-a"), "--output", "/dev/stdout"]
    result = subprocess.run([*command, *arguments], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(result.stdout.splitlines()[0]) == CHAT


def test_export_to_a_device_leaves_the_device(export):
    stored(Path("generate-a"), ROW)
    assert export("generate-a", "--output", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((".", "--output", "x"), ". contains no train rows; give the folder of a run"),
        (("generate-a", "--split", "validation", "--output", "x"), "generate-a contains no validation rows"),
        (("generate-a", "--output", "generate-a"), "generate-a is a folder; give the name of a file in it"),
        (("broken", "--output", "x"), "broken/train.jsonl, line 1: not a row of a generate stage"),
    ],
)
def test_failed_export_is_explained(export, arguments, message):
    stored(Path("generate-a"), ROW)
    stored(Path("broken"), {"messages": []})
    result = export(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert not Path("x").exists()
