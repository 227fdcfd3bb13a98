"""An API server that fails on demand for one client, and a witness of what that client writes.

Speaks plain HTTP to the client, as `api_proxy` does, and forwards what it does not fail.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from api_proxy import ApiProxy

WRITES = ("POST", "PUT", "PATCH", "DELETE")
ELECTION = "/leases/"
REASONS = {403: "Forbidden", 409: "Conflict", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError"}


@dataclass(frozen=True)
class ApiRequest:
    """A request of the client; the election's own are never among them."""

    verb: str
    """get, list, watch, or the method of a write in lower case."""
    path: str
    dry_run: bool = False


@dataclass(frozen=True)
class Refuse:
    """Answer with an HTTP status, without asking the server."""

    status: int


@dataclass(frozen=True)
class Reset:
    """Close the connection without an answer; `delivered` says whether the server does what was requested."""

    delivered: bool = False


@dataclass(frozen=True)
class Hang:
    """Answer nothing for that long, and close the connection."""

    seconds: float


Fault = Refuse | Reset | Hang
FaultPlan = Callable[[ApiRequest], Fault | None]
WatchPlan = Callable[[bytes], Iterable[tuple[float, bytes]]]
"""A line of a watch -> the lines to send in its place, each after that many seconds."""


def no_fault(_: ApiRequest) -> None:
    """All is well."""


def as_it_is(line: bytes) -> Iterator[tuple[float, bytes]]:
    """A watch without faults."""
    yield 0.0, line


@dataclass
class Witness:
    """What the server has accepted of the client."""

    created_jobs: Counter[str] = field(default_factory=Counter)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    """Requests by verb."""

    def accept(self, request: ApiRequest, body: bytes) -> None:
        """Take down an accepted write."""
        if request.verb == "post" and request.path.endswith("/jobs") and not request.dry_run:
            self.created_jobs[json.loads(body)["metadata"]["name"]] += 1
        if request.path.endswith("/status") and "/distillations/" in request.path:
            self.statuses.append(json.loads(body)["status"])

    def assert_no_job_twice(self) -> None:
        """Each attempt of a stage is one Job, and each stage has one attempt for the same inputs."""
        assert set(self.created_jobs.values()) <= {1}, self.created_jobs
        attempts = Counter(name.rpartition("-")[0] for name in self.created_jobs)
        assert set(attempts.values()) <= {1}, attempts

    def assert_no_status_backwards(self) -> None:
        """The generation that a status is about never falls, and for the same inputs no stage is undone."""
        generations = [status["observedGeneration"] for status in self.statuses]
        assert generations == sorted(generations)
        for before, after in zip(self.statuses, self.statuses[1:], strict=False):
            undone = _done_stages(before) & _unfinished_stages(after)
            assert not undone, undone


def _done_stages(status: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["name"], each["inputHash"]) for each in status.get("stages", ()) if each.get("completionTime")}


def _unfinished_stages(status: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["name"], each["inputHash"]) for each in status.get("stages", ()) if not each.get("completionTime")}


class ApiFaults(ApiProxy):
    """Forwards a port of the loopback interface to an API server, with the faults of `plan` and `watch_plan`, which may
    be replaced at any time; a context manager."""

    def __init__(self, server: str, authority: Path) -> None:
        super().__init__(server, authority)
        self.plan: FaultPlan = no_fault
        self.watch_plan: WatchPlan = as_it_is
        self.witness = Witness()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if ELECTION in request.path:
            return await super()._forward(request)
        seen, body = _api_request(request), await request.read()
        self.witness.requests[seen.verb] += 1
        fault = await asyncio.to_thread(self.plan, seen)
        match fault:
            case Refuse(status):
                return _refused(status)
            case Hang(seconds):
                await asyncio.sleep(seconds)
                return _closed(request)
            case Reset(delivered=False):
                return _closed(request)
        async with self._sent_on(request, body) as reply:
            if seen.verb == "watch" and reply.status == 200:
                return await self._watched(request, reply)
            content = await reply.read()
            if reply.status < 300:
                self.witness.accept(seen, body)
            if isinstance(fault, Reset):
                return _closed(request)
            return web.Response(status=reply.status, body=content, content_type=reply.content_type)

    async def _watched(self, request: web.Request, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.content_type})
        await response.prepare(request)
        sending: set[asyncio.Task[None]] = set()
        try:
            async for line in _lines(reply):
                for delay, changed in self.watch_plan(line):
                    task = asyncio.create_task(_sent(response, delay, changed))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
        except (aiohttp.ClientError, ConnectionError):
            pass
        for task in sending:
            task.cancel()
        return response


async def _lines(reply: aiohttp.ClientResponse) -> Any:
    rest = b""
    async for chunk in reply.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"


async def _sent(response: web.StreamResponse, delay: float, line: bytes) -> None:
    await asyncio.sleep(delay)
    try:
        await response.write(line)
    except (aiohttp.ClientError, ConnectionError):
        return  # the client has ended the watch


def _api_request(request: web.Request) -> ApiRequest:
    if request.method in WRITES:
        return ApiRequest(request.method.lower(), request.path, "dryRun" in request.query)
    if request.query.get("watch") in ("true", "True", "1"):
        return ApiRequest("watch", request.path)
    names_one = request.path.rstrip("/").count("/") % 2 == (0 if request.path.startswith("/apis/") else 1)
    return ApiRequest("get" if names_one else "list", request.path)


def _refused(status: int) -> web.Response:
    answer = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": f"the test says {status}",
        "reason": REASONS.get(status, ""),
        "code": status,
    }
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.json_response(answer, status=status, headers=headers)


def _closed(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)
