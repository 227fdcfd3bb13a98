"""The server of metrics answers whatever slow clients do."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distillery_api.runtime import metrics_server as module
from distillery_api.runtime.metrics_server import MAX_CONNECTIONS, MetricsServer, metrics_server

TEXT = b"rows 3\n" * 1_000_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [TEXT] if environ["PATH_INFO"] == "/long" else [b"rows 3\n"]


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with metrics_server("127.0.0.1", 0, application) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def scrape(server: MetricsServer) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as response:
        content: bytes = response.read()
        return content


def connect(server: MetricsServer, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.server_port))
    connection.sendall(sent)
    return connection


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /metrics HTTP/1.1\r\nX: ",
        b"GET /long HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["silent", "endless headers", "reads nothing", "sends no body"],
)
def test_a_scrape_is_answered_beside_many_clients_that_wait(server: MetricsServer, sent: bytes) -> None:
    before = threading.active_count()
    connections = [connect(server, sent) for _ in range(100)]
    assert scrape(server) == b"rows 3\n"
    assert threading.active_count() - before <= MAX_CONNECTIONS + 5
    for connection in connections:
        connection.close()


def send_slowly(connection: socket.socket) -> None:
    """A byte every 0.1 s, for 20 s."""
    for _ in range(200):
        connection.sendall(b"a")
        time.sleep(0.1)


def test_a_client_that_sends_a_byte_now_and_then_is_ended(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 0.5)
    connection = connect(server, b"GET /metrics HTTP/1.1\r\n")
    with pytest.raises(ConnectionError):
        send_slowly(connection)
    assert scrape(server) == b"rows 3\n"


def test_long_request_lines_and_many_headers_are_refused(server: MetricsServer) -> None:
    for sent, status in ((b"GET /" + b"a" * 70_000, b"414"), (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200, b"431")):
        connection = connect(server, sent + b"\r\n\r\n")
        assert connection.recv(100).split()[1] == status
        connection.close()
    assert scrape(server) == b"rows 3\n"


def test_clients_that_go_away_leave_nothing_in_the_log(
    server: MetricsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        connect(server, b"GET /long HTTP/1.1\r\n\r\n").close()
    assert scrape(server) == b"rows 3\n"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_all_addresses_are_those_of_ipv4_and_of_ipv6(address: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with metrics_server("0.0.0.0", 0, application) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        with urllib.request.urlopen(f"http://{address}:{running.server_port}/metrics", timeout=10) as response:
            assert response.status == 200
        running.shutdown()
        thread.join()


def test_an_address_of_ipv6_is_bound() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with metrics_server("::1", 0, application) as running:
        assert running.server_address[0] == "::1"
