"""The adapters in vLLM's Pods: our part of its process, as a server calls it, around a vLLM that has their names."""

import asyncio
import contextlib
import json

import pytest

from distillery_operator.manifests import served_adapters
from distillery_operator.manifests.served_adapters import ServedAdapters
from distillery_operator.manifests.served_paths import ServedPaths

FIRST, SECOND, DAMAGED = "/adapters/train-a", "/adapters/train-b", "/adapters/damaged"


class Vllm:
    """vLLM, whose requests take a moment and need their adapter at their end."""

    def __init__(self):
        self.loaded, self.calls, self.keys = {}, [], set()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await asyncio.Event().wait()
        content = (await receive())["body"]
        assert dict(scope["headers"])[b"content-length"] == str(len(content)).encode()
        verb = scope["path"].removeprefix("/v1/")
        status, answer = await self._answer(verb, content, scope)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer.encode()})

    async def _answer(self, verb, content, scope):
        if verb == "models":
            adapters = [{"id": name, "root": path, "parent": "base"} for name, path in self.loaded.items()]
            return 200, json.dumps({"object": "list", "data": [{"id": "base", "root": "/", "parent": None}, *adapters]})
        if verb == "chat/completions":
            try:
                name = json.loads(content).get("model")
            except (ValueError, AttributeError):
                return 400, "no request"
            await asyncio.sleep(0.02)
            return (200, self.loaded[name]) if name in self.loaded else (404, "")
        if verb.endswith("_lora_adapter"):
            assert scope["app"] == "vLLM"
            self.keys.add(dict(scope["headers"]).get(b"authorization"))
            return await self._change(verb, json.loads(content)), ""
        return 200, "healthy"

    async def _change(self, verb, body):
        self.calls.append((verb.partition("_")[0], body["lora_name"], body.get("lora_path")))
        await asyncio.sleep(0.02)
        if verb.startswith("unload"):
            del self.loaded[body["lora_name"]]
            return 200
        if body["lora_path"] == DAMAGED:
            return 500
        assert body["lora_name"] not in self.loaded
        self.loaded[body["lora_name"]] = body["lora_path"]
        return 200


class Server:
    """The program as uvicorn calls it."""

    def __init__(self, file):
        self.file, self.vllm = file, Vllm()
        self.program = ServedPaths(ServedAdapters(self.vllm))

    def want(self, **adapters):
        self.file.write_text(json.dumps(adapters))

    async def request(self, path="/v1/chat/completions", method="POST", content=None, **body):
        sent, content = [], json.dumps(body).encode() if content is None else content

        async def receive():
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message):
            sent.append(message)

        headers = [(b"content-length", str(len(content)).encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await self.program(scope, receive, send)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        return sent[0]["status"], sent[1]["body"].decode()

    async def until(self, name, path):
        async def leads_there():
            return await self.request(model=name) == ((200, path) if path else (404, ""))

        await holds(leads_there)


async def holds(condition):
    for _ in range(2000):
        if await condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen within ten seconds")


@pytest.fixture
def wanted_at_start():
    return {"student": FIRST}


@pytest.fixture
async def server(tmp_path, monkeypatch, wanted_at_start):
    monkeypatch.setattr(served_adapters, "POLL_SECONDS", 0.005)
    monkeypatch.setenv("DISTILLERY_ADAPTERS", str(tmp_path / "adapters.json"))
    monkeypatch.setenv("VLLM_API_KEY", "sk-of-clients")
    running = Server(tmp_path / "adapters.json")
    running.want(**wanted_at_start)
    life = asyncio.create_task(running.program({"type": "lifespan", "app": "vLLM"}, None, None))
    yield running
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life


async def test_server_is_healthy_once_its_adapters_are_loaded(server):
    assert (await server.request("/health", "GET"))[0] == 503
    await server.until("student", FIRST)
    await asyncio.sleep(0.02)
    assert await server.request("/health", "GET") == (200, "healthy")
    assert server.vllm.keys == {b"Bearer sk-of-clients"}


async def test_swap_loses_no_request(server, monkeypatch):
    monkeypatch.setattr(served_adapters, "UNLOAD_SECONDS", 0.1)
    await server.until("student", FIRST)
    answers = []
    for target in (SECOND, FIRST, SECOND):
        server.want(student=target, alias=target)
        for _ in range(100):
            answers.append(asyncio.create_task(server.request(model="student")))
            await asyncio.sleep(0.002)
    replies = await asyncio.gather(*answers)
    assert {status for status, _ in replies} == {200}
    assert {answer for _, answer in replies} == {FIRST, SECOND}
    assert ("unload", "train-a", None) in server.vllm.calls


async def test_clients_see_the_names_and_folders_of_what_answers(server):
    server.want(student=FIRST, alias=FIRST)
    await server.until("alias", FIRST)
    status, answer = await server.request("/v1/models", "GET")
    models = [(model["id"], model["root"], model["parent"]) for model in json.loads(answer)["data"]]
    assert (status, models) == (200, [("student", FIRST, "base"), ("alias", FIRST, "base"), ("base", "/", None)])


async def test_request_without_a_name_is_for_the_student(server):
    await server.until("student", FIRST)
    assert await server.request(messages=[]) == (200, FIRST)
    assert await server.request(model=None) == (200, FIRST)


async def test_request_without_a_name_is_for_the_servers_own_student_whatever_others_share_it(server):
    server.want(student=FIRST, guest=SECOND)
    await server.until("guest", SECOND)
    assert await server.request(messages=[]) == (200, FIRST)


@pytest.mark.parametrize("wanted_at_start", [{"student": FIRST, "guest": DAMAGED, "other": SECOND}])
async def test_damaged_adapter_of_a_guest_keeps_no_other_from_being_served(server):
    await server.until("other", SECOND)

    async def is_healthy():
        return (await server.request("/health", "GET"))[0] == 200

    await holds(is_healthy)
    assert await server.request(model="guest") == (404, "")


@pytest.mark.parametrize("wanted_at_start", [{"student": DAMAGED, "guest": SECOND}])
async def test_server_whose_own_student_cannot_be_loaded_is_not_healthy(server):
    await server.until("guest", SECOND)
    await asyncio.sleep(0.05)
    assert (await server.request("/health", "GET"))[0] == 503
    assert (await server.request(messages=[]))[0] == 404


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
async def test_what_is_no_request_is_for_vllm_to_refuse(server, content):
    await server.until("student", FIRST)
    try:
        assert (await server.request(content=content))[0] == 400
    except RecursionError:
        assert len(content) == 100_000, "of the vLLM in this test"


async def test_adapter_that_cannot_be_loaded_leaves_the_one_before(server):
    await server.until("student", FIRST)
    server.want(student=DAMAGED)

    async def was_tried():
        return ("load", "damaged", DAMAGED) in server.vllm.calls

    await holds(was_tried)
    await asyncio.sleep(0.05)
    assert await server.request(model="student") == (200, FIRST)
    assert (await server.request("/health", "GET"))[0] == 200
    assert len(server.vllm.calls) == 2, "it is not tried again at once"


async def test_name_that_is_no_longer_wanted_is_gone(server):
    server.want(student=FIRST, other=SECOND)
    await server.until("other", SECOND)
    server.want(student=FIRST)
    await server.until("other", None)
    assert await server.request(model="student") == (200, FIRST)


async def test_unknown_name_is_refused(server):
    await server.until("student", FIRST)
    assert (await server.request(model="unknown"))[0] == 404


async def test_file_that_is_not_readable_changes_nothing(server):
    await server.until("student", FIRST)
    for text in ("", "[1]", '{"student": '):
        server.file.write_text(text)
        await asyncio.sleep(0.02)
    server.file.unlink()
    await asyncio.sleep(0.02)
    assert await server.request(model="student") == (200, FIRST)


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters"])
async def test_no_client_can_load_an_adapter(server, path):
    await server.until("student", FIRST)
    calls = list(server.vllm.calls)
    assert (await server.request(path, lora_name="student", lora_path=SECOND))[0] == 404
    assert server.vllm.calls == calls
