"""Messages -> the teacher's reply: from the journal where it was ever paid for, else by calls with one retry policy,
within the budget, and never twice for the same question."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.spec.teacher import Limits, PricedJudge, Server
from distillery_trainer.chat.budget import CallBudget
from distillery_trainer.chat.endpoint import Endpoint, connections_allowed
from distillery_trainer.chat.error_responses import CallError, FailureScope
from distillery_trainer.chat.remote_model import RemoteModel
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.chat.retries import PATIENCE_SECONDS, Attempts, Retries
from distillery_trainer.chat.server_pool import PooledServer, ServerPool
from distillery_trainer.chat.usage import UsageTracker
from distillery_trainer.data.records import Message
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter

_FOUND_IN_A_ROW = 64
"""Replies from the journal after which others get a turn."""
_NAMES_TOLD = 5
_PREFLIGHT_TRIES = 3


class Stopping(Exception):
    """The stage is ending, so this reply is not waited for."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is put to a model."""

    key: str
    """Under which the journal keeps its reply."""
    messages: list[Message]
    temperature: float | None
    """None for the usual one."""


class ChatClient:
    """A model that is asked. Set `stopping` to end: no new call is begun after that, and no pause sat out.

    Rows that wait out a pause hold no call, so have `rows_at_once` of them under way, more than `calls_at_once`.
    """

    def __init__(
        self,
        asked: RemoteModel,
        parameters: Mapping[str, Any],
        *,
        config: RunConfig,
        journal: ReplyJournal,
        budget: CallBudget,
        progress: ProgressReporter,
        stopping: asyncio.Event,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._asked, self._parameters = asked, dict(parameters)
        self._journal, self._budget, self._progress = journal, budget, progress
        self._accounts = UsageTracker(journal, budget, progress, asked.pricing)
        self._config = config
        self.stopping = stopping
        self.calls_at_once = connections_allowed(config.generation.concurrency)
        """Most calls at once, as the user and the system allow."""
        self._keys: dict[tuple[int, float | None], ReplyKeys] = {}
        self._servers: dict[PooledServer, Server] = {}
        for server in asked.servers:
            self._servers[self._lane(server)] = server
        self._pool = ServerPool(list(self._servers), self.calls_at_once)
        self.retries = Retries(asked, self._servers, self._pool, patience)
        """What follows a failed call."""
        self._is_there, self._preflight_lock = False, asyncio.Lock()
        self._under_way: dict[str, asyncio.Event | None] = {}
        self._names: set[str] = set()
        self._told_size = 0
        self._watch: asyncio.Task[None] | None = None
        self.replies = 0
        """Replies so far, from the journal or fresh."""

    @classmethod
    def for_run(
        cls, config: RunConfig, parameters: Mapping[str, Any], journal: ReplyJournal, progress: ProgressReporter
    ) -> ChatClient:
        """The teacher of a run. Raises UserError where its key is missing."""
        teacher = config.generation.teachers[0]
        asked = RemoteModel(
            name=teacher.name,
            title=f"Teacher {teacher.name}",
            field="generation.teachers",
            model=teacher.model,
            servers=teacher.all_servers,
            limits=teacher.limits,
            pricing=teacher.pricing,
        )
        return cls(
            asked,
            parameters,
            config=config,
            journal=journal,
            budget=CallBudget(config.generation.budget, journal),
            progress=progress,
            stopping=asyncio.Event(),
        )

    def for_judge(
        self, judge: PricedJudge, parameters: Mapping[str, Any], field: str = "generation.judge"
    ) -> ChatClient:
        """A judge beside this teacher: it shares journal, budget and end. Raises UserError where its key is missing.

        `parameters` are those of its requests, `max_tokens` among them. Without prices of its own, its tokens count at
        the teacher's.
        """
        asked = RemoteModel(
            name="judge",
            title="The judge",
            field=field,
            model=judge.model,
            servers=(Server(url=judge.endpoint, api_key=judge.api_key),),
            limits=Limits(),
            pricing=judge.pricing or self._asked.pricing,
        )
        return ChatClient(
            asked,
            parameters,
            config=self._config,
            journal=self._journal,
            budget=self._budget,
            progress=self._progress,
            stopping=self.stopping,
            patience=self.retries.patience,
        )

    def _lane(self, server: Server) -> PooledServer:
        endpoint = Endpoint(
            server.url,
            self._asked.model,
            self._api_key(server),
            self._parameters,
            connections=self.calls_at_once,
            timeout=self._config.request_timeout_seconds,
        )
        lane = PooledServer(endpoint, self._asked.limits, self.calls_at_once)
        endpoint.on_allowances = lambda allowed: lane.allow(allowed, self._now())
        return lane

    async def close(self) -> None:
        """Close all connections."""
        if self._watch:
            self._watch.cancel()
        for lane in self._pool.lanes:
            await lane.endpoint.close()

    @property
    def name(self) -> str:
        """The teacher's name in the manifest."""
        return self._asked.name

    @property
    def rows_at_once(self) -> int:
        """How many rows should be under way, so that there are always enough that do not wait out a pause."""
        return 2 * self.calls_at_once

    # --- keys and names

    def _api_key(self, server: Server) -> str | None:
        if server.api_key is None:
            return None
        variable = self._config.api_key_variables.get(server.api_key.path, "")
        key = os.environ.get(variable, "").strip()
        if key:
            return key
        message = f"{self._asked.at(server)}: its API key is empty. {self._asked.key_advice(server.api_key)}"
        raise UserError(message, reason=Reason.TEACHER_REJECTED)

    # --- asking

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """The reply to a question, or why there is none. Another `sample` is another reply to the same question, and so
        is one at another temperature than the usual one.

        Raises UserError where the teacher turns everybody away, TryLater where it cannot be reached, BudgetSpent, and
        Stopping.
        """
        keys = self._keys.get((sample, temperature)) or self._new_keys(sample, temperature)
        key = keys.key(messages)
        while key in self._under_way:  # the same question from another row
            await self._others_answer(key)
        reply = self._journal.get(key)
        if reply is None:
            return await self._ask_alone(ChatRequest(key, messages, temperature))
        self.replies += 1
        self._is_there = True  # it was, once: what it does not answer today is one question's trouble
        if self.replies % _FOUND_IN_A_ROW == 0:
            await asyncio.sleep(0)  # nothing else here lets the others work
        return reply

    def _new_keys(self, sample: int, temperature: float | None) -> ReplyKeys:
        changed = {} if temperature is None else {"temperature": temperature}
        keys = self._keys[sample, temperature] = ReplyKeys(self._asked.model, self._parameters | changed, sample)
        return keys

    async def _others_answer(self, key: str) -> None:
        answered = self._under_way[key] or asyncio.Event()
        self._under_way[key] = answered
        await answered.wait()

    async def _ask_alone(self, question: ChatRequest) -> Reply | Failure:
        self._under_way[question.key] = None
        try:
            if not self._is_there:
                async with self._preflight_lock:
                    if not self._is_there:
                        return await self._preflight(question)
            return await self._ask_again_and_again(question, self._config.max_attempts)
        finally:
            if answered := self._under_way.pop(question.key):
                answered.set()

    async def _preflight(self, question: ChatRequest) -> Reply | Failure:
        """Put the first question alone, and end here where the server is not there, or is none.

        Raises UserError for a server that answers with something else than a completion, and TryLater, with the
        server's words, for one that fails each of a few tries.
        """
        outcome = await self._ask_again_and_again(question, min(_PREFLIGHT_TRIES, self._config.max_attempts))
        if isinstance(outcome, Reply) or not outcome.passing:
            self._is_there = True
            return outcome
        place = self._asked.at(self._asked.servers[0])
        if outcome.reason == RejectionReason.BAD_RESPONSE:
            message = (
                f"{place}: this is no chat API. {outcome.message} Check endpoint, which ends in /v1 with most servers"
                f" ({self._asked.field})."
            )
            raise UserError(message, reason=Reason.TEACHER_REJECTED)
        message = f"{place} did not answer the first row: {outcome.message} Everything paid for is kept."
        raise TryLater(message, reason=Reason.TEACHER_UNREACHABLE)

    async def _ask_again_and_again(self, question: ChatRequest, tries: int) -> Reply | Failure:
        fared = Attempts(tries)
        while True:
            outcome = await self._try(question, fared)
            if not isinstance(outcome, float):
                return outcome
            await self._pause(outcome)

    async def _try(self, question: ChatRequest, tries: Attempts) -> Reply | Failure | float:
        """The outcome of a call, or the seconds to wait before the next one."""
        lane = await self._free_lane(question.messages)
        try:
            return await self._call(question, lane)
        except CallError as error:
            return self.retries.after(error, tries, lane, self._now())
        finally:
            self._pool.give_back(lane)

    async def _free_lane(self, messages: list[Message]) -> PooledServer:
        """A server that may be asked now. Raises Stopping."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._end_pool())
        lane = await self._pool.take(self._likely_tokens(messages))
        if lane is None:
            raise Stopping
        return lane

    def _likely_tokens(self, messages: list[Message]) -> int:
        """What a call counts for against the limit of tokens a minute, where there is one."""
        if self._asked.limits.tokens_per_minute is None:
            return 0
        return self._accounts.likely_tokens(messages, self._parameters)

    async def _end_pool(self) -> None:
        await self.stopping.wait()
        self._pool.end()

    async def _call(self, question: ChatRequest, lane: PooledServer) -> Reply:
        messages = question.messages
        set_aside = await self._accounts.set_aside(messages, lane.endpoint.parameters)
        if self.stopping.is_set():
            self._accounts.give_back(set_aside)
            raise Stopping
        began, likely = self._now(), self._likely_tokens(messages)
        try:
            reply = await lane.endpoint.call(messages, question.temperature)
        except CallError as error:
            self._accounts.fail(error, set_aside)
            if error.verdict is FailureScope.AGAIN:
                lane.failed(error, began, self._now())
            raise
        self._accounts.keep(question.key, messages, reply, set_aside)
        self.retries.last_reply = self._now()
        lane.answered(began, self.retries.last_reply, 0 if reply.tokens is None else likely - reply.tokens)
        self.replies += 1
        self._tell(reply)
        return reply

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _tell(self, reply: Reply) -> None:
        """Say how many calls are borne at once, and once that the server answers under another name."""
        if self._pool.size != self._told_size:
            self._told_size = self._pool.size
            self._progress.calls_at_once(self._told_size)
        if reply.model is None or reply.model in self._names or len(self._names) >= _NAMES_TOLD:
            return
        self._names.add(reply.model)
        sys.stderr.write(f'{self._asked.title}: asked for "{self._asked.model}", answered by "{reply.model}".\n')

    async def _pause(self, seconds: float) -> None:
        """Wait, but not while the stage is ending. Raises Stopping."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise Stopping
