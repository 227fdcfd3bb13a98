"""Verify asks a server of adapters once all of its Pods have loaded the one that is to answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.verification import loaded_adapter
from distillery_trainer.verification.loaded_adapter import wait_for_adapter
from distillery_trainer.verification.served_student import ServedStudent

OLD, NEW = "/adapters/train-a", "/adapters/train-b"
BASE = {"id": "tiny-base", "root": "/models/tiny-base"}


@contextmanager
def model_server(*roots: str | int | None) -> Iterator[tuple[str, list[str]]]:
    """A server whose Pods answer in turn: the adapter that they have loaded, or a status. The last one answers on."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            root = roots[min(len(requested), len(roots) - 1)]
            requested.append(self.path)
            models = [BASE, *([{"id": "tiny", "root": root}] if root else [])]
            body = json.dumps({"data": models}).encode()
            self.send_response(root if isinstance(root, int) else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", requested
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(loaded_adapter, "_PAUSE_SECONDS", 0.0)


def wait(url: str, patience: float = 60) -> None:
    wait_for_adapter(ServedStudent(url, "tiny", 16), NEW, ProgressReporter(Stage.VERIFY), patience=patience)


def test_it_waits_until_every_answer_is_of_the_new_adapter():
    with model_server(None, OLD, 503, NEW, NEW, OLD, NEW) as (url, requested):
        wait(url)
    assert requested == ["/v1/models"] * 18


def test_an_adapter_that_is_not_loaded_fails_the_verification():
    with (
        model_server(OLD) as (url, _),
        pytest.raises(UserError, match=f"has not loaded the adapter {NEW}, but {OLD}") as e,
    ):
        wait(url, patience=0)
    assert e.value.reason is Reason.VERIFICATION_FAILED


@pytest.mark.parametrize("status", [500, 404])
def test_a_server_that_does_not_say_is_tried_later(status):
    with model_server(status) as (url, _), pytest.raises(TryLater, match=f"does not answer: HTTP {status}"):
        wait(url, patience=0)


def test_a_key_that_is_refused_is_said():
    with model_server(401) as (url, _), pytest.raises(UserError, match=r"refuses the API key"):
        wait(url)
