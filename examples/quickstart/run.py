"""What `make quickstart` runs: writes the rows, fetches the student, starts a teacher, and then hands over to the
command that anybody would type, `distillery run FILE`.

With TEACHER_URL and TEACHER_MODEL (and TEACHER_API_KEY, if it wants one) set, a real teacher answers instead of the
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
The teacher is a small server that stands in for a large language model: it reasons by rule, and is wrong, slow,
rate-limited and malformed at stated rates. Set TEACHER_URL and TEACHER_MODEL to have a real one answer."""


@dataclass(frozen=True)
class Teacher:
    """Where the teacher answers, under which name, and the key that it wants."""

    url: str
    model: str
    key: str | None = None


def main(folder: Path = Path("runs/quickstart")) -> int:
    """Distils into `folder`, taken from the repository; the exit code of the run."""
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
    """The real teacher that the environment names; None for the stand-in. Raises ValueError where it is half named."""
    url, model = variables.get("TEACHER_URL"), variables.get("TEACHER_MODEL")
    if bool(url) != bool(model):
        missing = "TEACHER_MODEL" if url else "TEACHER_URL"
        raise ValueError(f"{missing} is not set: a real teacher needs both TEACHER_URL and TEACHER_MODEL.")
    return Teacher(url, model, variables.get("TEACHER_API_KEY")) if url and model else None


def write_rows(folder: Path) -> None:
    """Writes the three splits once; what is there, perhaps edited, is kept."""
    if not all((folder / f"{split}.jsonl").exists() for split in SPLITS):
        subprocess.run([sys.executable, str(EXAMPLE / "conjunctions.py"), str(folder)], check=True)  # noqa: S603


def link_student(place: Path) -> None:
    """Puts a link to the small model where the manifest looks for it."""
    if place.exists():
        return
    from student import student_folder  # loads the training libraries, so only where it must

    place.unlink(missing_ok=True)
    place.symlink_to(student_folder().resolve(), target_is_directory=True)


@contextlib.contextmanager
def standin_teacher() -> Iterator[Teacher]:
    """The stand-in, on a free port of this machine while the context lasts."""
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
    """The port, once the server takes requests. Raises RuntimeError."""
    deadline = time.monotonic() + START_SECONDS
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The stand-in teacher did not start.")
        time.sleep(0.05)
    return int(port_file.read_text())


def write_manifest(folder: Path, teacher: Teacher) -> Path:
    """The example's manifest with the teacher's address, name and key filled in."""
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
    """A file that only its owner can read, with the teacher's key, while the context lasts."""
    path = folder / "teacher.env"
    path.touch(mode=0o600)
    try:
        path.write_text(f"api-key={key}\n")
        yield path
    finally:
        path.unlink()


def run(arguments: list[str]) -> int:
    """Runs `distillery run` as a user would, after showing the command."""
    print(f"\n$ {shlex.join(['distillery', 'run', *arguments])}\n", flush=True)
    program = Path(sys.executable).with_name("distillery")
    process = subprocess.Popen([str(program), "run", *arguments])  # noqa: S603
    with passed_on(process):
        exit_code = process.wait()
    if exit_code >= STOPPED_BY_SIGNAL:
        print("Or with `make quickstart`, which starts the teacher as well.", file=sys.stderr)
    return exit_code


@contextlib.contextmanager
def passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Passes on what asks this process to stop: the run stops in good order and says how to go on."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda sent, frame: process.send_signal(sent)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
