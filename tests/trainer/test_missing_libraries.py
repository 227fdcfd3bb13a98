import subprocess
import sys

from distillery_trainer.missing_libraries import missing


def test_only_libraries_that_are_not_installed_are_missing():
    assert missing(["json", "no_such_library", "pytest"]) == ["no_such_library"]


def test_complete_installation_misses_nothing():
    command = [sys.executable, "-m", "distillery_trainer.missing_libraries"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
