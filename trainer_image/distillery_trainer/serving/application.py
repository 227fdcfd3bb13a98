"""The application: five paths and no other. A request reaches the model only after it was checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.completion import CompletionHandler
from transformers.cli.serving.utils import GenerationState

from distillery_trainer.serving.called_tools import with_calls
from distillery_trainer.serving.model_health import ModelHealth
from distillery_trainer.serving.request_body import ChatRequest, CompletionRequest, RefusedRequest, read_request
from distillery_trainer.serving.served_model import ServedModel
from distillery_trainer.serving.server_metrics import PROMETHEUS_TEXT, ServerMetrics

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_BODY_BYTES_WITH_PICTURES = 16 * 1024 * 1024
"""Of a request to a student that reads pictures."""
MAX_BODY_SECONDS = 30.0
MAX_REQUESTS_IN_FLIGHT = 64
_RETRY_SECONDS = "5"

Handle = Callable[[dict[str, Any], str], Awaitable[Response]]
RequestKind = type[ChatRequest] | type[CompletionRequest]


class StudentApi:
    """The API of one student."""

    def __init__(self, model: ServedModel) -> None:
        generation = GenerationState()
        self._model = model
        self._chat: Handle = ChatCompletionHandler(model, generation, chat_template_kwargs={}).handle_request
        self._complete: Handle = CompletionHandler(model, generation).handle_request
        self._health = ModelHealth(self._ask_for_one_token)
        model.model.register_forward_hook(self._health.computed_token)
        self._metrics = ServerMetrics(lambda: self._health.requests_in_flight)

    def application(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/chat/completions", self._chat_completion, methods=["POST"]),
            Route("/v1/completions", self._completion, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/health", self._healthy),
            Route("/metrics", self._prometheus),
        ]
        application = Starlette(routes=routes, exception_handlers={HTTPException: _error})
        application.router.redirect_slashes = False
        return application

    async def _chat_completion(self, request: Request) -> Response:
        return await self._answered(request, ChatRequest, self._chat)

    async def _completion(self, request: Request) -> Response:
        return await self._answered(request, CompletionRequest, self._complete)

    async def _models(self, request: Request) -> Response:
        common = {"object": "model", "created": 0, "owned_by": "distillery"}
        return JSONResponse({"object": "list", "data": [{"id": name, **common} for name in self._model.names]})

    async def _healthy(self, request: Request) -> Response:
        if await self._health.answers():
            return JSONResponse({"status": "ok"})
        return _error_response(503, "the model does not answer")

    async def _prometheus(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=PROMETHEUS_TEXT)

    async def _answered(self, request: Request, kind: RequestKind, handle: Handle) -> Response:
        """The model's answer, or the error that says why there is none; counted."""
        started = time.monotonic()
        try:
            response = await self._answer(await self._checked(request, kind), handle)
        except HTTPException as error:
            response = _error_response(error.status_code, str(error.detail), error.headers)
        self._metrics.answered(request.url.path, response.status_code, started)
        return response

    async def _checked(self, request: Request, kind: RequestKind) -> dict[str, Any]:
        """The request for the library's handler. Raises HTTPException."""
        if self._health.requests_in_flight >= MAX_REQUESTS_IN_FLIGHT:
            wait = {"Retry-After": _RETRY_SECONDS}
            raise HTTPException(503, f"{MAX_REQUESTS_IN_FLIGHT} requests are in flight; ask again later", wait)
        reads_pictures = self._model.folder.reads_pictures
        content = await _body(request, MAX_BODY_BYTES_WITH_PICTURES if reads_pictures else MAX_BODY_BYTES)
        try:
            body = read_request(content, kind, self._model.names)
            return await asyncio.to_thread(self._model.fitted, body)
        except RefusedRequest as error:
            raise HTTPException(400, str(error)) from None

    async def _answer(self, body: dict[str, Any], handle: Handle) -> Response:
        """The handler's response; a stream is in flight until its end."""
        with ExitStack() as in_flight:
            in_flight.enter_context(self._health.request())
            response = await handle(body, uuid4().hex)
            if body.get("tools"):
                return with_calls(response)
            if isinstance(response, StreamingResponse):
                response.body_iterator = _until_closed(response.body_iterator, in_flight.pop_all())
        return response

    async def _ask_for_one_token(self) -> None:
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": self._model.force_model, "messages": messages, "max_tokens": 1, "stream": False}
        await self._chat(body, "health")


async def _until_closed(chunks: Any, in_flight: ExitStack) -> AsyncIterator[Any]:
    with in_flight:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises HTTPException if it is too long, too slow or incomplete."""
    content = bytearray()
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    raise HTTPException(413, f"the body is longer than {limit:,} bytes; shorten it")
    except TimeoutError:
        raise HTTPException(408, f"the body took longer than {MAX_BODY_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body is incomplete") from None
    return bytes(content)


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
    return _error_response(error.status_code, str(error.detail), error.headers)


def _error_response(status: int, message: str, headers: Any = None) -> JSONResponse:
    """An error in the form of OpenAI's API."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    content = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return JSONResponse(content, status, headers)
