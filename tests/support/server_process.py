"""Run one of the repository's server programs as a process of its own for the length of a block."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def server_process(program: str, port_file: Path, *arguments: str) -> Iterator[str]:
    """The address (`http://127.0.0.1:PORT/v1`) of a program that writes its port to `--port-file`.

    The program lies at `program` in the repository. It is sent SIGTERM at the end and must then leave with exit code 0.
    Raises RuntimeError where it ends before it listens.
    """
    command = [sys.executable, str(REPOSITORY / program), "--port-file", str(port_file), *arguments]
    with subprocess.Popen(command) as process:
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"{program} ended with exit code {process.returncode} before it listened")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text(encoding='ascii')}/v1"
        finally:
            process.terminate()
    assert process.returncode == 0
