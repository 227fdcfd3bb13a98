"""Keeps vLLM's LoRA adapters those that a file names, and swaps them without a failed request. This module runs in
vLLM's image, as `--middleware` inside served_paths, not in the operator.

The file, `{name of the model: folder of its adapter}`, is a ConfigMap in the Pod, so a new student needs no new Pod.
Each adapter is loaded under a name of its own, that of its folder, and requests for the model's name are passed on to
it: once the new one is loaded, they go there, and those in flight are finished by the one before. The first name is
that of the server's own student; the others may lead to students that share the server, and one of these that cannot be
loaded keeps no other from being served. (vLLM 0.32 ends when
two adapters of one name are in a batch; and one that was loaded in place, it reads again for every batch.) vLLM's own
requests for it are sent from here, inside the process: no client can send them. Standard library only, since the image
has none of ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

FILE_VARIABLE = "DISTILLERY_ADAPTERS"
"""Environment variable with the path of the file."""
KEY_VARIABLE = "VLLM_API_KEY"
POLL_SECONDS = 1.0
RETRY_SECONDS = 30.0
"""How long an adapter that vLLM refused is left alone."""
UNLOAD_SECONDS = 60.0
"""How long an adapter stays that no name leads to: requests may be on their way to it."""
ANSWERS = frozenset({"/v1/chat/completions", "/v1/completions"})

_LOG = logging.getLogger("uvicorn.error")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class ServedAdapters:
    """ASGI middleware that loads the wanted adapters; the server is healthy once that of its own student is loaded, and
    every other one was tried."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._application: Message = {}
        self._own_student: str | None = None
        """The first name in the file."""
        self._paths: dict[str, str] = {}
        """The folders of the adapters that answer, by the models' names."""
        self._until: dict[str, float] = {}
        """Until when each loaded adapter stays, by its folder."""
        self._refused: dict[str, float] = {}
        """Until when each refused one is left alone."""
        self._complete = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection of the protocol ASGI 3."""
        path = scope.get("path")
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif path == "/health" and not self._complete:
            await _respond(send, 503, b'{"error": {"message": "the adapters are not loaded yet", "code": 503}}')
        elif path == "/v1/models":
            await self._list(scope, receive, send)
        elif path in ANSWERS:
            body = self._for_adapter(await _whole_body(receive))
            await self._app({**scope, "headers": _of_length(scope["headers"], body)}, _replayed(body, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        # Starlette tells every part of a program which program it is.
        self._application = {"app": scope["app"]} if "app" in scope else {}
        follower = asyncio.create_task(self._follow())
        try:
            await self._app(scope, receive, send)
        finally:
            follower.cancel()

    def _for_adapter(self, body: bytes) -> bytes:
        """The body with the adapter that answers in place of the model's name; one without a name means the server's
        own student. What is no JSON object is for vLLM to refuse."""
        try:
            request = json.loads(body)
            name = request.get("model") or self._own_student
        except (ValueError, AttributeError, RecursionError):
            return body
        path = self._paths.get(name) if isinstance(name, str) else None
        return json.dumps({**request, "model": _own_name(path)}).encode() if path else body

    async def _list(self, scope: Message, receive: Receive, send: Send) -> None:
        """The models by the names that clients know."""
        response = _Response()
        await self._app(scope, receive, response.send)
        await _respond(send, response.status, self._renamed(response.body) if response.status == 200 else response.body)

    def _renamed(self, body: bytes) -> bytes:
        models = json.loads(body)
        cards = {card["id"]: card for card in models["data"]}
        bases = [card for card in cards.values() if not card.get("parent")]
        served = {name: cards.get(_own_name(path)) for name, path in self._paths.items()}
        renamed = [{**card, "id": name} for name, card in served.items() if card]
        return json.dumps({**models, "data": [*renamed, *bases]}).encode()

    async def _follow(self) -> None:
        problem = ""
        while True:
            try:
                wanted = _wanted()
            except (OSError, ValueError, AttributeError) as error:
                if str(error) != problem:
                    _LOG.error("the file of the adapters cannot be read: %s", error)
                problem = str(error)
            else:
                await self._bring_to(wanted)
                self._complete = self._complete or self._is_complete(wanted)
            await asyncio.sleep(POLL_SECONDS)

    async def _bring_to(self, wanted: Mapping[str, str]) -> None:
        self._own_student = next(iter(wanted), None)
        for name, path in wanted.items():
            if path in self._until or await self._load(path):
                self._paths[name] = path
        self._paths = {name: path for name, path in self._paths.items() if name in wanted}
        now = time.monotonic()
        self._until |= dict.fromkeys(self._paths.values(), now + UNLOAD_SECONDS)
        for path in [path for path, until in self._until.items() if until < now]:
            await self._post("unload", lora_name=_own_name(path))
            del self._until[path]

    def _is_complete(self, wanted: Mapping[str, str]) -> bool:
        own, tried = next(iter(wanted), None), {*self._until, *self._refused}
        return self._paths.get(own or "") == wanted.get(own or "") and tried.issuperset(wanted.values())

    async def _load(self, path: str) -> bool:
        if self._refused.get(path, 0.0) > time.monotonic():
            return False
        problem = await self._post("load", lora_name=_own_name(path), lora_path=path)
        if problem is None:
            self._until[path] = time.monotonic() + UNLOAD_SECONDS
            return True
        self._refused[path] = time.monotonic() + RETRY_SECONDS
        _LOG.error("the adapter %s cannot be loaded: %s", path, problem)
        return False

    async def _post(self, verb: str, **fields: str) -> str | None:
        """Ask vLLM to load or unload; returns why it does not."""
        body, response = json.dumps(fields).encode(), _Response()
        try:
            request = {**self._application, **_request(f"/v1/{verb}_lora_adapter", body)}
            await self._app(request, _replayed(body, _never), response.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server serves on
            return f"{type(error).__name__}: {error}"
        return None if response.status == 200 else f"HTTP {response.status}: {response.body.decode(errors='replace')}"


class _Response:
    """Collects a response."""

    def __init__(self) -> None:
        self.status, self.body = 0, b""

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


def _own_name(path: str) -> str:
    """What vLLM calls the adapter in a folder."""
    return os.path.basename(path)


def _wanted() -> dict[str, str]:
    """The adapters that the file names. Raises OSError, ValueError or AttributeError where it cannot be read."""
    with open(os.environ[FILE_VARIABLE], encoding="utf-8") as file:
        return {str(name): str(path) for name, path in json.load(file).items()}


async def _whole_body(receive: Receive) -> bytes:
    """The body of a request, whose length served_paths bounds."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receives `body` first, then what the client does."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again


async def _never() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


def _of_length(headers: list[tuple[bytes, bytes]], body: bytes) -> list[tuple[bytes, bytes]]:
    others = [(name, value) for name, value in headers if name != b"content-length"]
    return [*others, (b"content-length", str(len(body)).encode())]


def _request(path: str, body: bytes) -> Message:
    headers = _of_length([(b"content-type", b"application/json")], body)
    if key := os.environ.get(KEY_VARIABLE):
        headers.append((b"authorization", f"Bearer {key}".encode()))
    here = ("127.0.0.1", 0)
    protocol = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "POST"}
    address = {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": here}
    return {**protocol, **address, "headers": headers, "client": here, "state": {}}


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = _of_length([(b"content-type", b"application/json")], body)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
