"""Serves the student of a finished run with an OpenAI-compatible API, as the Deployment in a cluster does with the
runtime Transformers."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distillery_api.paths import Artefact, Workspace
from distillery_api.runtime.stop_signals import StopRequest
from distillery_operator.local.folder_access import OutsideFolder, path_inside, read_bounded, refuse_links_out
from distillery_operator.local.loopback import read_url
from distillery_operator.local.run_result import RunResult, read_run_result
from distillery_operator.local.stage_process import last_line
from distillery_operator.local.students import with_a_student
from distillery_operator.local.trainer import TRAINER

POLL_SECONDS = 0.3
SERVER_LIBRARIES = ("transformers", "torch", "fastapi", "uvicorn")
PRECISIONS = ("bfloat16", "float16", "float32")
PROMPT_LIMIT = 1024 * 1024
"""Bytes."""
SHUTDOWN_SECONDS = 10
"""How long requests in flight may take after a stop request."""


class ServingError(Exception):
    """The student cannot be served. The message says why and what to do."""


@dataclass(frozen=True)
class StudentServer:
    """A server of one student."""

    folder: Path
    name: str
    model: Path
    prompt: str | None
    precision: str
    """The arithmetic in which the student was evaluated, such as bfloat16, or auto."""
    host: str
    port: int
    result: RunResult
    """The run that made it."""

    @property
    def url(self) -> str:
        """Base URL of the API."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def log(self) -> Path:
        """Output of the server."""
        return Workspace(self.folder).server_log

    def command(self) -> list[str]:
        """The command that starts the server. Its values are joined to their flags, so that none is taken for one."""
        return [
            *(sys.executable, "-P", "-X", "utf8", "-m", f"{TRAINER}.serving"),
            *(f"--model={self.model}", f"--name={self.name}", f"--dtype={self.precision}"),
            *(f"--host={self.host}", f"--port={self.port}", f"--shutdown-timeout={SHUTDOWN_SECONDS}"),
        ]

    def run(self, stop: StopRequest, ready: Callable[[], None]) -> int:
        """Serve until `stop` is requested; call `ready` when the server is ready. Returns the exit code.

        Raises ServingError; an error of `ready` ends the server.
        """
        refuse_missing_libraries()
        refuse_taken_port(self.host, self.port)
        process = self._start()
        try:
            self._watch(process, stop, ready)
        finally:
            process.terminate()
            process.wait()
        return 0

    def _watch(self, process: subprocess.Popen[bytes], stop: StopRequest, ready: Callable[[], None]) -> None:
        announced = False
        while process.poll() is None and not stop.wait(POLL_SECONDS):
            if not announced and self.answers():
                announced = True
                ready()
        if not stop.requested:
            raise ServingError(self._ended(process.returncode))

    def _start(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Nothing needs to be downloaded.
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                start_new_session=True,
            )

    def _ended(self, exit_code: int) -> str:
        last = last_line(self.log)
        return f"the server ended with exit code {exit_code}{f': {last}' if last else ''}; for details, see {self.log}"

    def answers(self) -> bool:
        """Whether the server is up, and its model answers."""
        try:
            read_url(f"{self.url}/health", timeout=2, limit=1024)
        except OSError:
            return False
        return True


def student_server(folder: Path, host: str, port: int) -> StudentServer:
    """The server for the student in the workspace `folder`. Raises ServingError."""
    result = with_a_student(_run_result(folder), folder)
    try:
        path_inside(folder, str(Workspace(Path()).server_log))  # written to
        model, prompt = _model(folder, result), _student_prompt(folder, result)
    except OutsideFolder as error:
        raise ServingError(str(error)) from None
    return StudentServer(folder, result.name, model, prompt, _precision(result), host, port, result)


def refuse_below_gate(result: RunResult, folder: Path) -> None:
    """Raises ServingError if the student failed the quality gate of its run."""
    verdict = result.evaluation.gate if result.evaluation else None
    if verdict and not verdict.met:
        raise ServingError(
            f"the student failed the quality gate: {verdict.message}; to serve it all the same, run:"
            f" distillery serve {shlex.quote(str(folder))} --force"
        )


def _run_result(folder: Path) -> RunResult:
    path = Workspace(folder).result
    result = read_run_result(path)
    if result is not None:
        return result
    if path.exists():
        raise ServingError(f"{path} is damaged, or was not written by distillery; run again: distillery run FILE")
    raise ServingError(
        f"{folder} is not the folder of a run; give one, such as runs/NAME, or start a run: distillery run FILE"
    )


def _model(folder: Path, result: RunResult) -> Path:
    named = result.files.get(Artefact.MODEL)
    model = path_inside(folder, named) if named else None
    if model is None or not model.is_dir():
        raise ServingError(f"{folder} has no trained student yet; finish the run: distillery run FILE")
    refuse_links_out(folder, model)
    return model


def _student_prompt(folder: Path, result: RunResult) -> str | None:
    named = result.files.get(Artefact.STUDENT_PROMPT)
    if not named:
        return None
    path = path_inside(folder, named)
    try:
        return read_bounded(path, PROMPT_LIMIT).decode().strip()
    except (OSError, UnicodeDecodeError):
        raise ServingError(f"{path} cannot be read as a student prompt; run again: distillery run FILE") from None


def _precision(result: RunResult) -> str:
    measured = result.evaluation.precision if result.evaluation else None
    return measured if measured in PRECISIONS else "auto"


def refuse_missing_libraries() -> None:
    """Raises ServingError if a library that the server needs is not installed."""
    missing = [name for name in SERVER_LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ServingError(
            f"serving requires libraries that are not installed ({', '.join(missing)});"
            " run in a checkout of Distillery: pip install --constraint constraints.txt '.[trainer]'"
        )


def refuse_taken_port(host: str, port: int) -> None:
    """Raises ServingError if the address cannot be listened on."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ServingError(f"cannot listen on {host}:{port}: {error.strerror}; use another --port or --host") from None
