"""The small real student for tests where an untrained toy would not do; unpacked once, outside the repository."""

from pathlib import Path

from student import student_folder


def small_student() -> Path:
    """The folder of SmolLM2-135M-Instruct."""
    return student_folder()
