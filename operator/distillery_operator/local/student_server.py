"""Serves the student of a finished run with an OpenAI-compatible API, as the Deployment in a cluster does."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distillery_api.paths import Artefact, Workspace
from distillery_api.runtime.stop_signals import StopRequest
from distillery_operator.local.run_result import RunResult, read_run_result

POLL_SECONDS = 0.3
SERVER_LIBRARIES = ("transformers", "torch", "fastapi", "uvicorn")


class ServingError(Exception):
    """The student cannot be served. The message says why and what to do."""


@dataclass(frozen=True)
class StudentServer:
    """A server of one student. Its model name is the path that it is started with, so it is started with a link of that
    name."""

    folder: Path
    name: str
    model: Path
    prompt: str | None
    host: str
    port: int

    @property
    def url(self) -> str:
        """Base URL of the API."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def log(self) -> Path:
        """Output of the server."""
        return Workspace(self.folder).server_log

    def run(self, stop: StopRequest, ready: Callable[[], None]) -> int:
        """Serve until `stop` is requested; call `ready` when the server is ready. Returns the exit code.

        Raises ServingError.
        """
        refuse_taken_port(self.host, self.port)
        process = self._start()
        announced = False
        while process.poll() is None and not stop.wait(POLL_SECONDS):
            if not announced and self._is_ready():
                announced = True
                ready()
        if not stop.requested:
            raise ServingError(f"the server ended with exit code {process.returncode}; for details, see {self.log}")
        process.terminate()
        process.wait()
        return 0

    def _start(self) -> subprocess.Popen[bytes]:
        folder = self._prepare_folder()
        cache = Workspace(self.folder.resolve()).server_cache
        cache.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", self.name]
        # Nothing needs to be downloaded, and the server's list of models requires an existing cache folder.
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
        with self.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter
                [*command, "--host", self.host, "--port", str(self.port)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **offline},
                start_new_session=True,
            )

    def _prepare_folder(self) -> Path:
        """The working directory of the server, with a link to the model that has the model's name."""
        folder = Workspace(self.folder.resolve()).server
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / self.name).symlink_to(self.model.resolve(), target_is_directory=True)
        return folder

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as response:  # noqa: S310 - our own server
                return bool(response.status == 200)
        except OSError:
            return False


def student_server(folder: Path, host: str, port: int) -> StudentServer:
    """The server for the student in the workspace `folder`. Raises ServingError."""
    result = read_run_result(Workspace(folder).result)
    if result is None:
        raise ServingError(
            f"{folder} is not the folder of a run; give one, such as runs/NAME, or start a run: distillery run FILE"
        )
    model = result.files.get(Artefact.MODEL)
    if model is None or not (folder / model).is_dir():
        raise ServingError(f"{folder} has no trained student yet; finish the run: distillery run FILE")
    missing = [name for name in SERVER_LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ServingError(
            f"serving requires libraries that are not installed ({', '.join(missing)});"
            " run: pip install 'distillery[trainer]'"
        )
    return StudentServer(folder, result.name, folder / model, _student_prompt(folder, result), host, port)


def _student_prompt(folder: Path, result: RunResult) -> str | None:
    path = result.files.get(Artefact.STUDENT_PROMPT)
    return (folder / path).read_text().strip() if path else None


def refuse_taken_port(host: str, port: int) -> None:
    """Raises ServingError if the address cannot be listened on."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ServingError(f"cannot listen on {host}:{port}: {error.strerror}; use another --port or --host") from None
