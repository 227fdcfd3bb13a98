"""Settings that libraries read when they are imported are made before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def openmp_settings(module: str = "stages.train", **variables: str) -> str:
    """What torch's OpenMP library says it was given, when a module of the stages is imported first."""
    program = f"import distillery_trainer.{module}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return ended.stderr


@pytest.mark.parametrize(("variables", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_idle_threads_wait_without_spinning_unless_the_user_says_otherwise(
    variables: dict[str, str], policy: str
) -> None:
    assert f"OMP_WAIT_POLICY = '{policy}'" in openmp_settings(**variables)


@pytest.mark.parametrize("module", ["serving.served_model", "student.check"])
def test_so_do_those_of_a_server_and_of_the_check(module: str) -> None:
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in openmp_settings(module)


def test_libraries_say_nothing_while_they_are_imported() -> None:
    program = "import distillery_trainer.stages.train, peft"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr == ""
