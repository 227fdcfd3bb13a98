"""`distillery prompts`, as a user calls it."""

import json
import subprocess
from pathlib import Path

import pytest

from command_line_run import PROGRAM, finished, quiet_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "classification.yaml"


def shown(*arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [str(PROGRAM), "prompts", *map(str, arguments)]
    return finished(subprocess.Popen(command, env=quiet_environment(), text=True, **pipes))


def test_prompts_of_a_row_are_shown_below_their_roles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = shown(EXAMPLE, "--row", 12)
    assert (ended.exit_code, ended.stderr) == (0, "")
    teacher, student = ended.stdout.split("\nThe student gets\n")
    assert teacher.startswith("Row 12 of 30: train-13 (")
    assert "\n[user]\n<item>\nVöllig überteuert.\n</item>\n[parameters]\n{" in teacher
    assert "<instructions>\nEs zählt, was der Gast selbst meint.\n</instructions>" in teacher
    assert student.startswith("[system]\nEs zählt, was der Gast selbst meint.\n\nClassify the text.")
    assert student.endswith("[user]\nVöllig überteuert.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("row", "exit_code"), [(1, 0), (31, 2)])
def test_prompts_for_scripts(row: int, exit_code: int):
    ended = shown(EXAMPLE, "--row", row, "--output", "json")
    assert ended.exit_code == exit_code
    if exit_code:
        assert "There is no row 31: the sources have 30 rows." in ended.stderr
    else:
        assert [message["role"] for message in json.loads(ended.stdout)["student"]] == ["system", "user"]
