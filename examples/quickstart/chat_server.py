"""An OpenAI-compatible chat server on loopback, with a given answer function and schedule of faults.

    with TeacherServer(lambda messages: Answer("neutral")) as teacher:
        client = openai.OpenAI(base_url=teacher.url, api_key="any")

runs it in a thread; `serve` runs it in this process until SIGTERM or SIGINT.
"""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from chat_faults import Delivery, Fault, FaultSchedule, no_faults
from chat_logprobs import TokenModel, with_logprobs
from chat_protocol import (
    AnswerFunction,
    Call,
    Message,
    Refusal,
    Rules,
    check_key,
    check_request,
    completion_body,
    cut,
    last_user_text,
    refusal,
    token_limit,
    usage_body,
    write_answer,
)

_NO_FAULT = Fault("none")


@dataclass
class RecordedRequest:
    """A request and how it was answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None
    """The parsed JSON; None if there was none."""
    number: int | None = None
    """The index among the chat requests, from 0; None for others, and for invalid ones."""
    attempt: int | None = None
    status: int | None = None
    """The HTTP status of the response; None while in flight, or if the client disconnected."""
    fault: str | None = None
    """The name of the simulated fault."""
    tokens: int = 0
    """Tokens of the completion, whether or not the reply arrives and reports them."""
    started: float = field(default_factory=time.monotonic)
    """In seconds of the monotonic clock."""
    ended: float | None = None

    @property
    def messages(self) -> list[Message]:
        """The request's messages."""
        return list((self.body or {}).get("messages", []))

    @property
    def user_text(self) -> str:
        """The text of the last message from the user."""
        return last_user_text(self.messages)


@dataclass
class Journal:
    """All requests since the server started, in order of arrival, and how many were in flight at the same time."""

    requests: list[RecordedRequest] = field(default_factory=list)
    in_flight: int = 0
    peak_in_flight: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @contextlib.asynccontextmanager
    async def recorded(self, request: web.Request) -> AsyncIterator[RecordedRequest]:
        """Keep a record of the request while it is answered."""
        record = RecordedRequest(request.method, request.path, dict(request.headers))
        self.requests.append(record)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            yield record
        finally:
            self.in_flight -= 1
            record.ended = time.monotonic()

    def call(self, record: RecordedRequest) -> Call:
        """Number a chat request that is about to be answered."""
        key = json.dumps(record.body["messages"], sort_keys=True)
        record.number, record.attempt = self.attempts.total(), self.attempts[key]
        self.attempts[key] += 1
        return Call(record.number, record.attempt, record.body)

    def count_usage(self, reply: Mapping[str, Any]) -> None:
        """Add the tokens of a reply."""
        usage = reply.get("usage") or {}
        self.prompt_tokens += usage.get("prompt_tokens", 0)
        self.completion_tokens += usage.get("completion_tokens", 0)

    def chats(self) -> list[RecordedRequest]:
        """The requests for a completion."""
        return [record for record in self.requests if record.path.endswith("/chat/completions")]

    def statistics(self) -> dict[str, Any]:
        """Counts over the requests for a completion."""
        chats = self.chats()
        return {
            "requests": len(chats),
            "inFlight": self.in_flight,
            "peakInFlight": self.peak_in_flight,
            "byStatus": Counter(str(record.status) for record in chats if record.status),
            "byFault": Counter(record.fault for record in chats if record.fault),
            "promptTokens": self.prompt_tokens,
            "completionTokens": self.completion_tokens,
        }


class ChatApplication:
    """The routes of the server. They reply with an answer function, and fail by a schedule."""

    def __init__(self, answer: AnswerFunction, faults: FaultSchedule, rules: Rules, latency: float) -> None:
        self.answer, self.faults, self.rules, self.latency = answer, faults, rules, latency
        self.token_model: TokenModel | None = None
        """What log-probabilities come from; None for a server that gives none."""
        self.scores_texts = False
        """Whether it gives those of a given text, as vLLM does."""
        self.journal = Journal()

    def routes(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/v1/chat/completions", self.chat)
        application.router.add_get("/v1/models", self.models)
        application.router.add_get("/stats", self.statistics)
        return application

    async def statistics(self, _: web.Request) -> web.Response:
        """GET /stats."""
        return web.json_response(self.journal.statistics())

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models."""
        async with self.journal.recorded(request) as record:
            refused = check_key(self.rules, request.headers.get("Authorization", ""))
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "you"} for name in self.rules.models]
            record.status = refused.status if refused else 200
            return _refusal_response(refused) if refused else web.json_response({"object": "list", "data": listed})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        async with self.journal.recorded(request) as record:
            refused = await self._refused_outright(request, record)
            if refused:
                record.status = refused.status
                return _refusal_response(refused)
            call = self.journal.call(record)
            fault = self.faults(call) or _NO_FAULT
            record.fault = None if fault is _NO_FAULT else fault.name
            await asyncio.sleep(self.latency + fault.delay)
            record.status = fault.refused.status if fault.refused else 200
            if fault.refused:
                return _refusal_response(fault.refused)
            reply, record.tokens = self._completion(call, fault)
            return await _deliver(request, json.dumps(reply).encode(), fault.delivery)

    async def _refused_outright(self, request: web.Request, record: RecordedRequest) -> Refusal | None:
        refused = check_key(self.rules, request.headers.get("Authorization", ""))
        if refused:
            return refused
        try:
            record.body = await request.json()
        except ValueError:
            return refusal(400, "The request's body is not JSON.", "invalid_json")
        return check_request(self.rules, record.body)

    def _completion(self, call: Call, fault: Fault) -> tuple[dict[str, Any], int]:
        """The reply, and its tokens."""
        answer = fault.answer(self.answer(call.messages))
        completion = cut(fault.change(write_answer(answer, call.body)), token_limit(call.body))
        reply = completion_body(call.body, completion, call.number, int(time.time()))
        self.journal.count_usage(reply)
        if self.token_model:
            reply = with_logprobs(reply, call.body, self.token_model, scores=self.scores_texts)
        return reply, usage_body(call.body, completion, 1)["total_tokens"]


def _refusal_response(refused: Refusal) -> web.Response:
    if isinstance(refused.body, bytes):
        return web.Response(status=refused.status, body=refused.body, headers=refused.headers)
    if isinstance(refused.body, str):
        return web.Response(status=refused.status, text=refused.body, headers=refused.headers)
    return web.json_response(refused.body, status=refused.status, headers=refused.headers)


async def _deliver(request: web.Request, body: bytes, delivery: Delivery) -> web.StreamResponse:
    if delivery is Delivery.WHOLE:
        return web.Response(body=body, content_type="application/json")
    if delivery is Delivery.DROPPED:
        return _dropped(request)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    if delivery is Delivery.TRICKLED:
        await _trickle(response, body)
    else:
        await response.write(body[: len(body) // 2])
        if request.transport:
            request.transport.close()
    return response


def _dropped(request: web.Request) -> web.Response:
    """An empty response after the connection was closed."""
    if request.transport:
        request.transport.close()
    return web.Response()


async def _trickle(response: web.StreamResponse, body: bytes) -> None:
    with contextlib.suppress(ConnectionResetError):  # the client disconnects
        for index in range(len(body)):
            await response.write(body[index : index + 1])
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def listening(application: ChatApplication, host: str, port: int) -> AsyncIterator[str]:
    """Serves the application while the context lasts; yields `http://HOST:PORT/v1`. Port 0 selects a free one."""
    runner = web.AppRunner(application.routes(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"http://{bound_host}:{bound_port}/v1"
    finally:
        await runner.cleanup()


class TeacherServer:
    """The server in a thread, as a context manager.

    Faults, latency and answer can be replaced while it runs (`teacher.faults = script([...])`), as tests do between two
    runs of a stage against the same endpoint.
    """

    def __init__(
        self,
        answer: AnswerFunction,
        *,
        faults: FaultSchedule = no_faults,
        models: tuple[str, ...] = ("teacher",),
        api_key: str | None = None,
        latency: float = 0.0,
        context_tokens: int = 8192,
        refused_parameters: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        rules = Rules(models, api_key, context_tokens, refused_parameters)
        self.application = ChatApplication(answer, faults, rules, latency)
        self.url = ""
        self._host, self._port = host, port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="teacher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_until_complete(self._cancel_rest())

    async def _cancel_rest(self) -> None:
        """Cancel requests that are still being answered, whose clients were killed."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _listen(self) -> None:
        stopped = asyncio.Event()
        self._stop = stopped.set
        try:
            async with listening(self.application, self._host, self._port) as self.url:
                self._ready.set()
                await stopped.wait()
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    @property
    def faults(self) -> FaultSchedule:
        """The schedule of faults."""
        return self.application.faults

    @faults.setter
    def faults(self, faults: FaultSchedule) -> None:
        self.application.faults = faults

    @property
    def journal(self) -> Journal:
        """All requests that the server received."""
        return self.application.journal

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests for a completion so far, including refused ones."""
        return self.journal.chats()

    @property
    def peak_in_flight(self) -> int:
        """The maximum number of concurrent requests."""
        return self.journal.peak_in_flight

    def statistics(self) -> dict[str, Any]:
        """The response of GET /stats."""
        return self.journal.statistics()


# --- as a process


async def serve_until_stopped(application: ChatApplication, host: str, port: int, port_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; write the port to `port_file` once requests are accepted."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with listening(application, host, port) as url:
        print(f"teacher listening on {url}", flush=True)
        if port_file:
            write_port(port_file, url)
        await stopped.wait()


def write_port(port_file: Path, url: str) -> None:
    """Write the port of `url` atomically."""
    port = url.removesuffix("/v1").rpartition(":")[2]
    draft = port_file.with_name(f"{port_file.name}.{os.getpid()}")
    draft.write_text(port, encoding="ascii")
    draft.replace(port_file)


def serve(application: ChatApplication, host: str, port: int, port_file: Path | None) -> None:
    """Run the server in this process."""
    asyncio.run(serve_until_stopped(application, host, port, port_file))
