"""Messages -> a remote model's reply: from the journal where it is stored, else by calls with one retry policy, within
the budget. No stored reply is paid for twice; a request that a kill or a timeout cuts off is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.spec.teacher import PricedJudge, Server
from distillery_trainer.chat.budget import RequestBudget
from distillery_trainer.chat.endpoint import Endpoint, connections_allowed
from distillery_trainer.chat.error_responses import CallError, FailureScope
from distillery_trainer.chat.notices import Notices
from distillery_trainer.chat.rate_limits import PATIENCE_SECONDS
from distillery_trainer.chat.remote_model import RemoteModel
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.retries import Attempts, Retries
from distillery_trainer.chat.server_pool import PooledServer, ServerPool
from distillery_trainer.chat.stored_replies import StoredReplies
from distillery_trainer.chat.usage import UsageTracker
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.data.rows import Message
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter

_JOURNAL_REPLIES_PER_YIELD = 64
"""Replies from the journal after which other tasks get to run."""
_FIRST_REQUEST_ATTEMPTS = 3


class Stopping(Exception):
    """The stage is ending, so the reply is not waited for."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request for one reply."""

    key: str
    """The key of the reply in the journal."""
    messages: list[Message]
    temperature: float | None
    """None for the default one."""


class ChatClient:
    """Asks a remote model. Set `stopping` to end: after that no call starts and no pause is waited for.

    Rows that wait for a retry have no call in flight, so process `concurrent_rows` of them at the same time, which are
    more than `max_concurrent_requests`.
    """

    def __init__(
        self,
        model: RemoteModel,
        parameters: Mapping[str, Any],
        *,
        config: RunConfig,
        journal: ReplyJournal,
        budget: RequestBudget,
        progress: ProgressReporter,
        stopping: asyncio.Event,
        patience: float = PATIENCE_SECONDS,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        """`parameters` determine the replies, and so their keys in the journal; what `beside` asks for only comes with
        them."""
        self._model, self._parameters, self._beside = model, dict(parameters), dict(beside or {})
        self._journal, self._budget, self._progress = journal, budget, progress
        self._usage = UsageTracker(journal, budget, progress, model.pricing)
        self._config = config
        self.stopping = stopping
        self.max_concurrent_requests = connections_allowed(config.generation.concurrency)
        """As many as the user and the system allow."""
        self.stored = StoredReplies(journal, model.model_id, self._parameters)
        """The replies that the journal holds to requests of this client."""
        servers = [self._pooled_server(address) for address in model.addresses]
        self._pool = ServerPool(servers, self.max_concurrent_requests)
        self.retries = Retries(model, self._pool, patience)
        """What follows a failed call."""
        self._is_reachable, self._first_request_lock = False, asyncio.Lock()
        self._in_flight: dict[str, asyncio.Event | None] = {}
        self._notices = Notices(model)
        self._reported_limit = 0
        self._pool_closer: asyncio.Task[None] | None = None
        self.replies = 0
        """Replies so far, from the journal or from the model."""

    @classmethod
    def for_run(
        cls,
        config: RunConfig,
        parameters: Mapping[str, Any],
        journal: ReplyJournal,
        progress: ProgressReporter,
        beside: Mapping[str, Any] | None = None,
    ) -> ChatClient:
        """The client for a run's teacher. Raises UserError where its API key is empty."""
        return cls(
            RemoteModel.of_teacher(config.generation.teachers[0]),
            parameters,
            config=config,
            journal=journal,
            budget=RequestBudget(config.generation.budget, journal),
            progress=progress,
            stopping=asyncio.Event(),
            beside=beside,
        )

    def also_ask_for(self, beside: Mapping[str, Any]) -> None:
        """Ask for something more that comes with the replies and does not determine them."""
        for server in self._pool.servers:
            server.endpoint.parameters |= beside

    def with_parameters(self, parameters: Mapping[str, Any]) -> ChatClient:
        """A client that asks the same model in another way, with the same journal, budget and end."""
        return ChatClient(
            self._model,
            {**parameters, **self._model.options.extra_parameters},
            config=self._config,
            journal=self._journal,
            budget=self._budget,
            progress=self._progress,
            stopping=self.stopping,
            patience=self.retries.patience,
        )

    def for_judge(
        self, judge: PricedJudge, parameters: Mapping[str, Any], field: str = "generation.judge"
    ) -> ChatClient:
        """The client for a judge of this teacher, with the same journal, budget and end. Raises UserError where its API
        key is empty.

        `parameters` are those of its requests, including `max_tokens`. Without a pricing of its own, its tokens are
        charged at the teacher's.
        """
        return ChatClient(
            RemoteModel.of_judge(judge, field, judge.pricing or self._model.pricing),
            {**parameters, **judge.extra_parameters},
            config=self._config,
            journal=self._journal,
            budget=self._budget,
            progress=self._progress,
            stopping=self.stopping,
            patience=self.retries.patience,
        )

    def _pooled_server(self, address: Server) -> PooledServer:
        endpoint = Endpoint(
            self._model.target(address, self._config.api_key_variables),
            self._model.model_id,
            {**self._parameters, **self._beside},
            connections=self.max_concurrent_requests,
            timeout=self._config.request_timeout_seconds,
            picture_url=PictureFiles(self._config.paths.pictures).data_url,
        )
        endpoint.on_resend = self._usage.record_resend
        server = PooledServer(address, endpoint, self._model.limits, self.max_concurrent_requests)
        endpoint.on_allowances = lambda allowances: server.note_allowances(allowances, self._now())
        return server

    async def close(self) -> None:
        """Close all connections."""
        if self._pool_closer:
            self._pool_closer.cancel()
        for server in self._pool.servers:
            await server.endpoint.close()

    @property
    def name(self) -> str:
        """The model's name in the manifest."""
        return self._model.name

    @property
    def concurrent_rows(self) -> int:
        """How many rows to process at the same time, so that enough of them are not waiting for a retry."""
        return 2 * self.max_concurrent_requests

    # --- asking

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """The reply to a request, or why there is none. Another `sample` is another reply to the same messages, and so
        is one at another temperature than the default one.

        Raises UserError where the model's servers reject all requests, TryLater where they cannot be reached,
        BudgetExhausted, and Stopping.
        """
        key = self.stored.key(messages, sample, temperature)
        while key in self._in_flight:
            await self._same_request(key)
        stored = self.stored.find(messages, sample, temperature)
        if stored is None:
            outcome = await self._ask_model(ChatRequest(key, messages, temperature))
            if isinstance(outcome, Reply):
                self._journal.note_use(key, self._model.pricing)
            return outcome
        self._journal.note_use(stored.key, self._model.pricing)
        self.replies += 1
        self._is_reachable = True  # it once was: a failure today says nothing about the other requests
        if self.replies % _JOURNAL_REPLIES_PER_YIELD == 0:
            await asyncio.sleep(0)  # nothing else here lets other tasks run
        return stored.reply

    async def _same_request(self, key: str) -> None:
        """Wait until the same request of another row has finished."""
        finished = self._in_flight[key] or asyncio.Event()
        self._in_flight[key] = finished
        await finished.wait()

    async def _ask_model(self, request: ChatRequest) -> Reply | Failure:
        self._in_flight[request.key] = None
        self.stored.note_limit()
        try:
            if not self._is_reachable:
                async with self._first_request_lock:
                    if not self._is_reachable:
                        return await self._send_first(request)
            return await self._ask_with_retries(request, self._config.max_attempts)
        finally:
            if finished := self._in_flight.pop(request.key):
                finished.set()

    async def _send_first(self, request: ChatRequest) -> Reply | Failure:
        """Send the first request alone, and end the stage where the server is unreachable or not a chat API.

        Raises UserError for a server that answers with something else than a completion, and TryLater, with the
        server's message, for one that fails each of a few attempts.
        """
        outcome = await self._ask_with_retries(request, min(_FIRST_REQUEST_ATTEMPTS, self._config.max_attempts))
        if isinstance(outcome, Reply) or not outcome.transient:
            self._is_reachable = True
            return outcome
        model = self._model.at(self._model.addresses[0])
        if outcome.reason == RejectionReason.BAD_RESPONSE:
            message = (
                f"{model}: this is not a chat API. {outcome.message} Check endpoint, which ends in /v1 with most"
                f" servers ({self._model.field})."
            )
            raise UserError(message, reason=Reason.TEACHER_REJECTED)
        message = f"{model} did not answer the first request: {outcome.message} All paid replies are kept."
        raise TryLater(message, reason=Reason.TEACHER_UNREACHABLE)

    async def _ask_with_retries(self, request: ChatRequest, allowed: int) -> Reply | Failure:
        attempts = Attempts(allowed)
        while True:
            outcome = await self._attempt(request, attempts)
            if not isinstance(outcome, float):
                return outcome
            await self._wait(outcome)

    async def _attempt(self, request: ChatRequest, attempts: Attempts) -> Reply | Failure | float:
        """The outcome of a call, or the seconds to wait before the next one."""
        server = await self._acquire_server(request.messages)
        try:
            return await self._call(request, server)
        except CallError as error:
            return self.retries.after(error, attempts, server, self._now())
        finally:
            self._pool.release(server)

    async def _acquire_server(self, messages: list[Message]) -> PooledServer:
        """A server that may be asked now. Raises Stopping."""
        if self._pool_closer is None:
            self._pool_closer = asyncio.create_task(self._close_pool())
        server = await self._pool.acquire(self._expected_tokens(messages))
        if server is None:
            raise Stopping
        return server

    def _expected_tokens(self, messages: list[Message]) -> int:
        """What a request counts for against the limit of tokens per minute; 0 without a limit."""
        if self._model.limits.tokens_per_minute is None:
            return 0
        return self._usage.expected_tokens(messages, self._parameters)

    async def _close_pool(self) -> None:
        await self.stopping.wait()
        self._pool.close()

    async def _call(self, request: ChatRequest, server: PooledServer) -> Reply:
        messages = request.messages
        reserved = await self._usage.reserve(messages, server.endpoint.parameters)
        if self.stopping.is_set():
            self._usage.release(reserved)
            raise Stopping
        started, expected = self._now(), self._expected_tokens(messages)
        try:
            reply = await server.endpoint.call(messages, request.temperature)
        except CallError as error:
            self._usage.record_failure(error, reserved)
            if error.scope is FailureScope.TRANSIENT:
                server.failed(error, started, self._now())
            raise
        except Exception:
            self._usage.abandon(reserved)
            raise
        self._usage.record_reply(request.key, messages, reply, reserved)
        self.retries.last_reply = self._now()
        server.succeeded(started, self.retries.last_reply, 0 if reply.tokens is None else expected - reply.tokens)
        self.replies += 1
        self._report_concurrency_limit()
        self._notices.after(reply, server.endpoint)
        return reply

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _report_concurrency_limit(self) -> None:
        if self._pool.concurrency_limit != self._reported_limit:
            self._reported_limit = self._pool.concurrency_limit
            self._progress.concurrency_limit(self._reported_limit)

    async def _wait(self, seconds: float) -> None:
        """Wait, unless the stage is ending. Raises Stopping."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise Stopping
