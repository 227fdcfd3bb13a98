"""`python -m distillery_trainer.serving --model FOLDER --name NAME`: load a student and serve it until SIGTERM.

Where the variable DISTILLERY_SERVING_API_KEY is set, requests to /v1 need that key. A student that cannot be loaded
ends the process with exit code 2, and a sentence as the last line of standard error.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from distillery_api.runtime.resilient_output import accept_every_character
from distillery_api.stage import ExitCode
from distillery_trainer.runtime.errors import StageError
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.runtime.server_key import server_key

PRECISIONS = ("auto", "bfloat16", "float16", "float32")
_MAX_CONNECTIONS = 1024
_MAX_HEADER_BYTES = 64 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one student, and return the exit code."""
    accept_every_character()
    options = _parse_arguments(arguments)
    # While the model is loaded, the first process of a container would ignore the signal; the server passes it on here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.DONE))
    try:
        _serve(options)
    except StageError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return ExitCode.DONE


def _serve(options: argparse.Namespace) -> None:
    key = server_key()
    import uvicorn

    from distillery_trainer.serving.application import StudentApi
    from distillery_trainer.serving.client_key import with_key
    from distillery_trainer.serving.connections import TimedConnection
    from distillery_trainer.serving.draining import DrainingServer
    from distillery_trainer.serving.served_model import ServedModel
    from distillery_trainer.student.device import choose_device

    quiet_libraries()
    names = (options.name, *options.also_named)
    model = ServedModel.load(options.model, names, options.dtype, choose_device(), options.student_prompt)
    config = uvicorn.Config(
        with_key(StudentApi(model).application(), key),
        host=options.host,
        port=options.port,
        http=TimedConnection,
        ws="none",
        server_header=False,
        access_log=False,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        timeout_graceful_shutdown=options.shutdown_timeout,
    )
    DrainingServer(config).run()


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="distillery_trainer.serving", description="Serve one student.")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="the student's folder")
    parser.add_argument("--name", required=True, help="what clients write in `model`")
    parser.add_argument("--also-named", action="append", default=[], metavar="NAME", help="a further name")
    parser.add_argument("--dtype", choices=PRECISIONS, default="auto", help="arithmetic; auto: the device's own")
    parser.add_argument(
        "--student-prompt", type=Path, metavar="FILE", help="the system message of requests that have none"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--shutdown-timeout",
        type=int,
        default=30,
        metavar="SECONDS",
        help="how long requests in flight may take after SIGTERM",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
