"""Clients of a vLLM that is about to stop: the middleware in front of it, and the command that its Pod runs before."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from distillery_operator.manifests import draining
from distillery_operator.manifests.draining import ClosingConnections, drain_command

TYPE = (b"content-type", b"text/plain")
CLOSE = (b"connection", b"close")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the mark is in this Pod."""
    monkeypatch.setattr(draining, "MARK", tmp_path / "draining")
    return tmp_path / "draining"


def before_stop(folder: Path) -> None:
    """Run what the Pod runs, without its pause."""
    subprocess.run(drain_command(0), env={"TMPDIR": str(folder), "PATH": "/usr/bin:/bin"}, check=True)


async def application(scope, receive, send):
    """vLLM, which streams a reply of two parts."""
    await send({"type": "http.response.start", "status": 200, "headers": [TYPE]})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await send({"type": "http.response.body", "body": b" last"})


def headers(server):
    """The headers of a response."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(server({"type": "http", "method": "POST", "path": "/v1/chat/completions"}, None, send))
    assert b"".join(message["body"] for message in sent[1:]) == b"first last"
    return sent[0]["headers"]


def test_connections_are_kept_until_the_mark_is_set(mark: Path) -> None:
    server = ClosingConnections(application)
    assert headers(server) == [TYPE]
    before_stop(mark.parent)
    assert headers(server) == [TYPE, CLOSE]


def test_a_server_that_is_started_again_in_its_pod_keeps_connections(mark: Path) -> None:
    before_stop(mark.parent)
    assert headers(ClosingConnections(application)) == [TYPE]


def test_the_pod_waits_after_it_has_set_the_mark() -> None:
    assert drain_command(5) == ("sh", "-c", 'touch "${TMPDIR:-/tmp}/draining"; sleep 5')
