"""Messages -> the teacher's reply: from the journal where it was ever paid for, else by calls with one retry policy,
within the budget, and never twice for the same question."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from dataclasses import dataclass
from typing import Any

import orjson

from distillery_api.result import Reason
from distillery_api.run import RunConfig
from distillery_trainer.errors import TryLater, UserError
from distillery_trainer.progress import ProgressReporter
from distillery_trainer.prompts import TaskPrompt
from distillery_trainer.records import Message
from distillery_trainer.teachers.budget import TokenBudget
from distillery_trainer.teachers.endpoint import CallError, Endpoint, Verdict, sampling_parameters
from distillery_trainer.teachers.journal import Reply, ReplyJournal

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no reply."""

    reason: str
    message: str
    request_id: str | None = None
    passing: bool = False
    """Whether the same question may get a reply another day."""


class Stopping(Exception):
    """The stage is ending, so this reply is not waited for."""


class ReplyKeys:
    """The key of a reply: everything that determines it. The server's address and the API key do not."""

    def __init__(self, model: str, parameters: dict[str, Any], sample: int = 0) -> None:
        identity = orjson.dumps([model, parameters, sample], option=orjson.OPT_SORT_KEYS)
        self._prefix = hashlib.sha256(identity + b"\n")

    def key(self, messages: list[Message]) -> str:
        """64 hex digits for a question."""
        digest = self._prefix.copy()
        digest.update(orjson.dumps(messages, option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest()


def pause_before(attempt: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to wait before call number `attempt` (2 is the first repeat) of a reply.

    Doubles from half a second to a minute with half of it random, so that rows that failed together do not come back
    together; never shorter than the server asks, however long that is.
    """
    doubled: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 2))
    pause = doubled * rng.uniform(0.5, 1.0)
    return pause if retry_after is None else max(pause, retry_after + rng.uniform(0, min(1.0, 0.1 + retry_after / 10)))


class Teacher:
    """The run's teacher. Set `stopping` to end: no new call is begun after that, and no pause sat out."""

    def __init__(
        self, config: RunConfig, prompt: TaskPrompt, journal: ReplyJournal, progress: ProgressReporter
    ) -> None:
        generation = config.generation
        self._teacher = generation.teachers[0]
        self._server = self._teacher.all_servers[0]
        self._key_variable = config.api_key_variables.get(self._server.api_key.path if self._server.api_key else "")
        self._tries = config.max_attempts
        parameters = sampling_parameters(generation, prompt.max_tokens, prompt.reply_schema())
        self._keys = ReplyKeys(self._teacher.model, parameters)
        self._endpoint = Endpoint(
            self._server.url,
            self._teacher.model,
            self._api_key(),
            parameters,
            connections=generation.concurrency,
            timeout=config.request_timeout_seconds,
        )
        self._journal, self._progress = journal, progress
        self._budget = TokenBudget(generation.budget.max_tokens, journal, prompt.max_tokens)
        self._asked: dict[str, asyncio.Event] = {}
        self._rng = random.Random()
        self.stopping = asyncio.Event()
        self.replies = 0
        """Replies so far, from the journal or fresh."""

    async def close(self) -> None:
        """Close all connections."""
        await self._endpoint.close()

    def _api_key(self) -> str | None:
        if self._server.api_key is None:
            return None
        key = os.environ.get(self._key_variable or "", "").strip()
        if key:
            return key
        raise UserError(f"{self._named()}: its API key is empty. {self._key_advice()}", reason=Reason.TEACHER_REJECTED)

    @property
    def name(self) -> str:
        """The teacher's name in the manifest."""
        return self._teacher.name

    def _named(self) -> str:
        return f"Teacher {self._teacher.name} ({self._teacher.model} at {self._server.url})"

    def _key_advice(self) -> str:
        secret = self._server.api_key
        if secret is None:
            return "Give the teacher an apiKey: the name of a Secret and a key in it."
        return f"Check the key {secret.key} of the Secret {secret.secret_name} (generation.teachers: apiKey)."

    # --- asking

    async def ask(self, messages: list[Message]) -> Reply | Failure:
        """The reply to a question, or why there is none.

        Raises UserError where the teacher turns everybody away, TryLater where it cannot be reached, BudgetSpent, and
        Stopping.
        """
        key = self._keys.key(messages)
        while other := self._asked.get(key):  # the same question from another row
            await other.wait()
        if (reply := self._journal.get(key)) is None:
            self._asked[key] = asyncio.Event()
            try:
                return await self._ask_until_answered(key, messages)
            finally:
                self._asked.pop(key).set()
        self.replies += 1
        await asyncio.sleep(0)  # nothing else here lets the others work
        return reply

    async def _ask_until_answered(self, key: str, messages: list[Message]) -> Reply | Failure:
        attempt = 1
        while True:
            try:
                return await self._ask_once(key, messages)
            except CallError as error:
                if error.verdict is Verdict.TEACHER:
                    raise self._turned_away(error) from error
                if error.verdict is Verdict.ROW or attempt == self._tries:
                    return self._given_up(error, attempt)
                attempt += 1
                await self._pause(pause_before(attempt, error.retry_after, self._rng))

    async def _ask_once(self, key: str, messages: list[Message]) -> Reply:
        set_aside = await self._budget.set_aside(messages)
        if self.stopping.is_set():
            self._settle_unasked(messages, set_aside)
            raise Stopping
        try:
            reply = await self._endpoint.call(messages)
        except CallError as error:
            self._count_failure(error, set_aside)
            self._budget.settle(messages, None)
            raise
        self._journal.add_reply(key, reply, set_aside)
        self._budget.settle(messages, reply.input_tokens)
        self._count_reply(reply)
        return reply

    def _settle_unasked(self, messages: list[Message], set_aside: int) -> None:
        if set_aside:
            self._journal.add_failure("not_asked", answered=False, given_back=set_aside)
        self._budget.settle(messages, None)

    def _count_failure(self, error: CallError, set_aside: int) -> None:
        given_back = set_aside if error.costs_nothing else 0
        self._journal.add_failure(error.reason, answered=error.answered, given_back=given_back)
        self._progress.teacher_request(error.reason)

    def _count_reply(self, reply: Reply) -> None:
        self.replies += 1
        self._progress.teacher_request("ok")
        self._progress.teacher_tokens(reply.input_tokens or 0, reply.output_tokens or 0)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not while the stage is ending. Raises Stopping."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise Stopping

    # --- giving up

    def _given_up(self, error: CallError, attempts: int) -> Failure:
        """The failure of a row. Raises TryLater where the server was never there."""
        tried = f" ({attempts} tries)" if attempts > 1 else ""
        if not error.connected:
            message = f"{self._named()} cannot be reached{tried}. {error.message}"
            raise TryLater(f"{message} Everything paid for is kept.", reason=Reason.TEACHER_UNREACHABLE) from error
        return Failure(
            error.reason, f"{error.message}{tried}", error.request_id, passing=error.verdict is Verdict.AGAIN
        )

    def _turned_away(self, error: CallError) -> UserError:
        advice = {
            "http_401": f"The key was refused. {self._key_advice()}",
            "http_403": f"The key does not allow this. {self._key_advice()}",
            "http_404": f'There is no model "{self._teacher.model}", or no API at that address: check model and'
            " endpoint, which ends in /v1 with most servers (generation.teachers).",
            "http_405": "There is no chat API at that address: check endpoint (generation.teachers).",
        }.get(error.reason, "The account's quota is used up: raise it there, then run again.")
        return UserError(f"{self._named()}: {advice} It said: {error.message}", reason=Reason.TEACHER_REJECTED)
