"""The program of `make quickstart`: writes the rows, prepares the student, starts a teacher, and then runs the command
that a user would run, `distillery run FILE`.

If TEACHER_URL and TEACHER_MODEL (and TEACHER_API_KEY, if required) are set, a real teacher is used instead of the
stand-in.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

EXAMPLE = Path(__file__).parent
REPOSITORY = EXAMPLE.parents[1]
API_KEY_NAME = "teacher"
SPLITS = ("train", "validation", "test")
START_SECONDS = 30.0
STOPPED_BY_SIGNAL = 128
STAND_IN_NOTE = """\
The teacher is a small server that stands in for a large language model: it reasons by rules, and is wrong, slow,
rate-limited or malformed at fixed rates. To use a real teacher, set TEACHER_URL and TEACHER_MODEL."""


@dataclass(frozen=True)
class Teacher:
    """Base URL, model name and API key of the teacher."""

    url: str
    model: str
    key: str | None = None


def main(folder: Path = Path("runs/quickstart")) -> int:
    """Distils into `folder`, which is relative to the repository. Returns the exit code of the run."""
    os.chdir(REPOSITORY)
    try:
        real = teacher_of(os.environ)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    write_rows(folder / "data")
    link_student(folder / "student")
    with contextlib.ExitStack() as stack:
        teacher = real or stack.enter_context(standin_teacher())
        arguments = [str(write_manifest(folder, teacher)), "--out", str(folder)]
        if teacher.key:
            arguments += ["--secret", f"{API_KEY_NAME}={stack.enter_context(key_file(folder, teacher.key))}"]
        return run(arguments)


def teacher_of(variables: Mapping[str, str]) -> Teacher | None:
    """The real teacher from environment variables; None for the stand-in. Raises ValueError if only one is set."""
    url, model = variables.get("TEACHER_URL"), variables.get("TEACHER_MODEL")
    if bool(url) != bool(model):
        missing = "TEACHER_MODEL" if url else "TEACHER_URL"
        raise ValueError(f"{missing} is not set; to use a real teacher, set both TEACHER_URL and TEACHER_MODEL.")
    return Teacher(url, model, variables.get("TEACHER_API_KEY")) if url and model else None


def write_rows(folder: Path) -> None:
    """Writes the three splits once. Existing files, which may be edited, are kept."""
    if not all((folder / f"{split}.jsonl").exists() for split in SPLITS):
        subprocess.run([sys.executable, str(EXAMPLE / "conjunctions.py"), str(folder)], check=True)  # noqa: S603


def link_student(link: Path) -> None:
    """Creates a link to the small model at the path that the manifest refers to."""
    if link.exists():
        return
    from student import student_folder  # loads the training libraries, so only if required

    link.unlink(missing_ok=True)
    link.symlink_to(student_folder().resolve(), target_is_directory=True)


@contextlib.contextmanager
def standin_teacher() -> Iterator[Teacher]:
    """The stand-in teacher, on a free port of this machine, while the context lasts."""
    print(STAND_IN_NOTE, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, str(EXAMPLE / "standin_teacher.py"), "--port", "0", "--port-file", str(port_file)]
        process = subprocess.Popen(command, start_new_session=True)  # noqa: S603
        try:
            yield Teacher(f"http://127.0.0.1:{wait_for_port(process, port_file)}/v1", "standin-teacher")
        finally:
            process.terminate()
            process.wait()


def wait_for_port(process: subprocess.Popen[bytes], port_file: Path) -> int:
    """Waits until the server accepts requests, and returns its port. Raises RuntimeError."""
    deadline = time.monotonic() + START_SECONDS
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The stand-in teacher did not start.")
        time.sleep(0.05)
    return int(port_file.read_text())


def write_manifest(folder: Path, teacher: Teacher) -> Path:
    """Writes the example's manifest with the teacher's URL, model and key."""
    manifest = yaml.safe_load((EXAMPLE / "distillation.yaml").read_text())
    entry = manifest["spec"]["generation"]["teachers"][0]
    entry |= {"endpoint": teacher.url, "model": teacher.model}
    if teacher.key:
        entry["apiKey"] = {"secretName": API_KEY_NAME}
    path = folder / "distillation.yaml"
    path.write_text(yaml.safe_dump(manifest, sort_keys=False))
    return path


@contextlib.contextmanager
def key_file(folder: Path, key: str) -> Iterator[Path]:
    """A file with the teacher's key that only its owner can read, while the context lasts."""
    path = folder / "teacher.env"
    path.touch(mode=0o600)
    try:
        path.write_text(f"api-key={key}\n")
        yield path
    finally:
        path.unlink()


def run(arguments: list[str]) -> int:
    """Prints the `distillery run` command and runs it."""
    print(f"\n$ {shlex.join(['distillery', 'run', *arguments])}\n", flush=True)
    program = Path(sys.executable).with_name("distillery")
    process = subprocess.Popen([str(program), "run", *arguments])  # noqa: S603
    with signals_forwarded_to(process):
        exit_code = process.wait()
    if exit_code >= STOPPED_BY_SIGNAL:
        print("Or run `make quickstart`, which also starts the teacher.", file=sys.stderr)
    return exit_code


@contextlib.contextmanager
def signals_forwarded_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forwards stop signals, so that the run saves its work and says how to resume."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda sent, frame: process.send_signal(sent)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
