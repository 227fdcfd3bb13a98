"""The Transformers server as a process, with a tiny model."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiny_model import read_model, read_tokenizer, write_tiny_model

MESSAGES = [{"role": "user", "content": "Hello there"}]


@dataclass(frozen=True)
class Server:
    port: int
    folder: Path
    process: subprocess.Popen[str]

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        status, content = self.send("POST", path, json.dumps({"model": "tiny", **fields}).encode())
        return status, json.loads(content)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, port: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "distillery_trainer.serving", f"--model={folder}", "--name=tiny"]
    return subprocess.Popen(
        [*command, f"--port={port}", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until_healthy(server: Server) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if server.send("GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(server.process.communicate(timeout=5)[0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = write_tiny_model(tmp_path_factory.mktemp("serving") / "model")
    port = free_port()
    running = Server(port, folder, start(folder, port, "--dtype=float32"))
    wait_until_healthy(running)
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(timeout=60) == 0


def greedy_answer(folder: Path, tokens: int) -> str:
    model, tokenizer = read_model(folder), read_tokenizer(folder)
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def test_answers_are_the_most_likely_ones(server: Server) -> None:
    status, reply = server.post("/v1/chat/completions", messages=MESSAGES, max_tokens=8)
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == greedy_answer(server.folder, 8)
    assert (reply["model"], reply["choices"][0]["finish_reason"]) == ("tiny", "length")


def test_a_stream_has_the_same_text(server: Server) -> None:
    body = json.dumps({"model": "tiny", "messages": MESSAGES, "max_tokens": 8, "stream": True}).encode()
    status, content = server.send("POST", "/v1/chat/completions", body)
    chunks = [json.loads(line[6:]) for line in content.decode().splitlines() if line.startswith("data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert (status, text) == (200, greedy_answer(server.folder, 8))


def test_completions_take_a_text(server: Server) -> None:
    status, reply = server.post("/v1/completions", prompt="Hello", max_tokens=3)
    assert (status, reply["usage"]["completion_tokens"]) == (200, 3)


def test_the_only_model_is_listed_without_a_cache_of_the_hub(server: Server) -> None:
    status, content = server.send("GET", "/v1/models")
    assert (status, [model["id"] for model in json.loads(content)["data"]]) == (200, ["tiny"])


CLOSED = (
    "/",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/load_model",
    "/reset",
    "/v1",
    "/v1/",
    "/v1/models/",
    "/v1/models/tiny",
    "//v1/models",
    "/v1//models",
    "/V1/models",
    "/v1/responses",
    "/v1/systemone",
    "/v1/audio/transcriptions",
    "/v1/embeddings",
    "/v1/load_lora_adapter",
    "/health/",
    "/healthz",
    "/metrics/",
    "/ping",
    "/invocations",
    "/tokenize",
    "/version",
    "/v1/chat/completions/",
    "/v1/chat/completions/../../load_model",
    "/v1/models/%2e%2e/%2e%2e/load_model",
)


@pytest.mark.parametrize("path", CLOSED)
def test_every_other_path_does_not_exist(server: Server, path: str) -> None:
    statuses = [server.send(method, path, b"{}")[0] for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS")]
    assert statuses == [404] * 5


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics"])
def test_open_paths_have_one_method(server: Server, path: str) -> None:
    assert [server.send(method, path, b"{}")[0] for method in ("PUT", "DELETE", "PATCH", "OPTIONS")] == [405] * 4


def test_a_requests_own_template_is_refused_and_the_server_answers_on(server: Server) -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    for fields in ({"chat_template": endless}, {"chat_template_kwargs": {"chat_template": endless}}):
        status, reply = server.post("/v1/chat/completions", messages=MESSAGES, **fields)
        message = f"{next(iter(fields))}: not supported by this server with this value; remove it"
        assert (status, reply["error"]["message"]) == (400, message)
    assert server.post("/v1/chat/completions", messages=MESSAGES, max_tokens=1)[0] == 200


def test_another_model_is_refused(server: Server) -> None:
    status, reply = server.post("/v1/completions", prompt="a", model=str(server.folder))
    assert (status, reply["error"]["message"]) == (400, "model: this server has only tiny")


def test_a_prompt_beyond_the_context_is_refused_and_a_long_answer_ends_with_the_context(server: Server) -> None:
    status, reply = server.post("/v1/completions", prompt="word " * 600)
    assert status == 400
    assert reply["error"]["message"] == (
        "the prompt is longer than the model's 512 tokens less one for the answer; shorten it"
    )
    status, reply = server.post("/v1/completions", prompt="word " * 500, max_tokens=10_000)
    assert (status, reply["usage"]["total_tokens"] <= 512) == (200, True)


def test_a_long_body_is_refused_before_it_is_read_to_its_end(server: Server) -> None:
    status, content = server.send("POST", "/v1/completions", b" " * (2 * 1024 * 1024 + 1))
    assert status == 413
    assert json.loads(content)["error"]["message"] == "the body is longer than 2,097,152 bytes; shorten it"


def test_requests_are_counted(server: Server) -> None:
    server.post("/v1/completions", prompt="a", n=3)
    status, content = server.send("GET", "/metrics")
    assert status == 200
    assert b'distillery_server_requests_total{path="/v1/completions",status="400"}' in content
    assert b"distillery_server_requests_in_flight 0.0" in content


def test_slow_clients_are_ended_and_others_answered(tmp_path: Path) -> None:
    port, folder = free_port(), write_tiny_model(tmp_path / "model")
    program = (
        "import sys, distillery_trainer.serving.connections as connections\n"
        "connections.MAX_WAITING_SECONDS = 0.5\n"
        "from distillery_trainer.serving.__main__ import main\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", program, f"--model={folder}", "--name=tiny", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        server = Server(port, folder, process)
        wait_until_healthy(server)
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        for number, connection in enumerate(slow):
            connection.sendall((b"", b"GET ", b"GET /health HTTP/1.1\r\nX: ")[number % 3])
        assert server.post("/v1/completions", prompt="a", max_tokens=1)[0] == 200
        for connection in slow:
            connection.settimeout(30)
            assert connection.recv(1) == b""
            connection.close()
        process.send_signal(signal.SIGTERM)


def test_a_request_in_flight_is_answered_before_the_server_stops(tmp_path: Path) -> None:
    port = free_port()
    server = Server(port, tmp_path, start(write_tiny_model(tmp_path / "model"), port, "--shutdown-timeout=60"))
    wait_until_healthy(server)
    replies: list[tuple[int, Any]] = []
    ask = threading.Thread(
        target=lambda: replies.append(server.post("/v1/chat/completions", messages=MESSAGES, max_tokens=400))
    )
    ask.start()
    while b"in_flight 1.0" not in server.send("GET", "/metrics")[1]:
        time.sleep(0.01)
    assert server.send("GET", "/health")[0] == 200
    server.process.send_signal(signal.SIGTERM)
    ask.join(timeout=120)
    assert replies[0][0] == 200
    assert server.process.wait(timeout=60) == 0


def test_a_folder_that_is_no_model_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    ended = start(tmp_path, free_port())
    output, _ = ended.communicate(timeout=60)
    assert ended.returncode == 2
    assert output.splitlines()[-1] == (
        f"student.model.uri: {tmp_path}: the folder is empty; copy all files of the model into it."
    )


def test_requests_need_the_key_and_may_use_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_SERVING_API_KEY", "sk-of-clients\n")
    port = free_port()
    process = start(write_tiny_model(tmp_path / "model"), port, "--also-named=gpt-4o")
    server = Server(port, tmp_path, process)
    wait_until_healthy(server)
    body = json.dumps({"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 1}).encode()

    def statuses(**headers: str) -> list[int]:
        answers = [server.send("POST", "/v1/chat/completions", body, **headers)]
        answers += [server.send("GET", path, **headers) for path in ("/v1/models", "/health", "/metrics")]
        return [status for status, _ in answers]

    assert statuses(Authorization="Bearer sk-of-clients") == [200, 200, 200, 200]
    assert statuses(authorization="bearer sk-of-clients") == [200, 200, 200, 200]
    for wrong in ("sk-of-clients", "Bearer sk-of-client", "Bearer", "Basic sk-of-clients", "Bearer \xff"):
        assert statuses(Authorization=wrong) == [401, 401, 200, 200]
    assert statuses() == [401, 401, 200, 200]
    _, content = server.send("GET", "/v1/models", Authorization="Bearer sk-of-clients")
    assert [model["id"] for model in json.loads(content)["data"]] == ["tiny", "gpt-4o"]
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


@pytest.mark.parametrize("key", ["", " \n", "schlüssel"])
def test_a_key_that_protects_nothing_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("DISTILLERY_SERVING_API_KEY", key)
    ended = start(tmp_path, free_port())
    output, _ = ended.communicate(timeout=60)
    problem = "has characters that no HTTP header can hold" if key.strip() else "is empty"
    assert (ended.returncode, output.splitlines()[-1]) == (
        2,
        "The API key of the student's server (DISTILLERY_SERVING_API_KEY, serving.apiKey) "
        f"{problem}. Correct the Secret.",
    )


def test_a_baked_prompt_is_the_system_message_of_requests_without_one(server: Server, tmp_path: Path) -> None:
    prompt, own = 'Say "a label".\n', {"role": "system", "content": "Speak French."}
    (tmp_path / "prompt.txt").write_text(prompt)
    port = free_port()
    process = start(server.folder, port, "--dtype=float32", f"--student-prompt={tmp_path}/prompt.txt")
    baked = Server(port, server.folder, process)
    wait_until_healthy(baked)

    def reply(target: Server, *system: dict[str, str]) -> tuple[str, int]:
        _, body = target.post("/v1/chat/completions", messages=[*system, *MESSAGES], max_tokens=8)
        return body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"]

    assert reply(baked) == reply(server, {"role": "system", "content": prompt})
    assert reply(baked, own) == reply(server, own)
    assert reply(baked)[1] != reply(server)[1]
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


class SteadyClient(threading.Thread):
    """Sends ten requests a second on one connection that it keeps, and connects again when it is told to."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.answered, self.closes, self.failures = port, 0, 0, list[str]()
        self.stopped = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stopped.wait(0.1):
            try:
                connection.request("GET", "/v1/models")
                response = connection.getresponse()
                response.read()
            except OSError as error:
                self.failures.append(repr(error))
                return
            self.answered += 1
            if response.getheader("connection") == "close":
                self.closes += 1
                return  # as a client in the cluster, whose next connection leads to another Pod


def test_a_client_that_keeps_its_connection_loses_no_request_when_the_server_stops(tmp_path: Path) -> None:
    port = free_port()
    process = start(write_tiny_model(tmp_path / "model"), port)
    wait_until_healthy(Server(port, tmp_path, process))
    clients = [SteadyClient(port) for _ in range(4)]
    for client in clients:
        client.start()
    while any(client.answered < 3 for client in clients):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(timeout=30)
    assert [(client.failures, client.closes) for client in clients] == [([], 1)] * 4
    assert process.wait(timeout=60) == 0
