"""The command line with terminals that lack most characters."""

import os
import subprocess
import sys

import pytest

PROGRAM = "from distillery_operator.cli import main; main()"
ASCII_LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


def command_line(environment, *arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("environment", ASCII_LOCALES, ids=str)
def test_message_with_other_characters_is_printed_with_escapes(environment, tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text("apiVersion: été\nkind: Distillation\n", encoding="utf-8")
    result = command_line(environment, "validate", str(path))
    assert result.returncode == 2
    assert b"apiVersion: is `\\xe9t\\xe9`, which this version" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("environment", ASCII_LOCALES, ids=str)
def test_export_is_utf8_in_every_locale(environment, tmp_path):
    row = '{"id": "a", "prompt": [{"role": "user", "content": "été"}], "completion": []}\n'
    (tmp_path / "train.jsonl").write_text(row, encoding="utf-8")
    result = command_line(environment, "export", str(tmp_path), "--output", "-")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode() == '{"id": "a", "messages": [{"role": "user", "content": "été"}]}\n'
