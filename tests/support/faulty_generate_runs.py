"""Random runs of a generate stage: a teacher that fails, kills in between, and attempts until the stage is done.

A FaultyRunPlan says what goes wrong; its repr is all that it takes to repeat a run:

    with ForkedStages() as stages, FailingTeacher() as teacher:
        plan = FaultyRunPlan(Kind.VOTED, train=3, faults={0: ("500", "empty")}, kills=(...))
        run = FaultyRun(folder, plan, teacher, stages)
        run.run(check_after_each_attempt)
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiohttp import web

import chat_faults
from chat_faults import Fault
from chat_protocol import Answer, Call, Message, Refusal, Rules, text_of
from chat_server import ChatApplication, RecordedRequest, TeacherServer
from distillery_api.stage import ExitCode
from distillery_api.stage_result import StageResult
from forked_stages import ForkedStage, ForkedStages
from generate_run import LABELS, GenerateRun, nli_row

FAULTS: Mapping[str, Fault] = {
    "429": chat_faults.rate_limited(None),
    "429, at once": chat_faults.rate_limited(0),
    "429, in 2 seconds": chat_faults.rate_limited(2),
    "500": chat_faults.server_error(500),
    "502 with a page": chat_faults.html_page(502),
    "200 with a page": replace(chat_faults.html_page(), refused=Refusal(200, "<html>Welcome!</html>")),
    "200 with an error": Fault("error", refused=Refusal(200, {"error": {"message": "Overloaded.", "code": 503}})),
    "400, content": chat_faults.content_refused(),
    "400, too long": chat_faults.context_too_long(),
    "401": chat_faults.wrong_key(),
    "connection dropped": chat_faults.dropped_connection(),
    "half a body": chat_faults.closed_connection(),
    "trickling body": chat_faults.trickling(),
    "slow": chat_faults.slow(0.05),
    "slower than the time-out": chat_faults.slow(0.25),
    "malformed JSON": chat_faults.malformed_json(),
    "unknown label": chat_faults.labelled("sideways"),
    "says neutral": chat_faults.labelled("neutral"),
    "says contradiction": chat_faults.labelled("contradiction"),
    "cut off": chat_faults.cut_off(),
    "declined": chat_faults.declined(),
    "content filter": chat_faults.content_filtered(),
    "empty": chat_faults.empty(),
    "null": chat_faults.verbatim(None),
    "no usage": chat_faults.without_usage(),
    "in a fence": chat_faults.fenced(),
    "with small talk": chat_faults.chatty(),
    "with a thought": chat_faults.think_span("Let me see."),
}
TIMEOUT = 12.0
"""Seconds of the stage's clock that a call may take."""
_MAX_ATTEMPTS = 100


class Named(StrEnum):
    """Shown as it is written in a program."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Kind(Named):
    """What the teacher is asked for."""

    REASONED = "NLI with a chain of thought, where an unreadable reply is asked for again"
    VOTED = "NLI with three samples a row"
    TALKED = "conversations of one to three turns"


class Moment(Named):
    """What a kill follows."""

    BEGUN = "the process has begun"
    ARRIVED = "the request has arrived"
    ANSWERED = "the request is answered"


@dataclass(frozen=True)
class Kill:
    """The end of an attempt."""

    moment: Moment
    request: int = 1
    """Which request of the attempt, from 1; nothing to a process that has just begun."""
    milliseconds: int = 0
    """From the moment to the kill."""
    graceful: bool = False
    """SIGTERM in place of SIGKILL."""

    @property
    def signal(self) -> signal.Signals:
        return signal.SIGTERM if self.graceful else signal.SIGKILL


@dataclass(frozen=True)
class FaultyRunPlan:
    """Rows, settings, what goes wrong with the requests for a row, and how the attempts are ended."""

    kind: Kind
    train: int = 1
    """Rows, numbered from 0."""
    validation: int = 1
    """Rows, numbered from 100."""
    test: int = 1
    """Rows, numbered from 200."""
    copies: int = 0
    """Train rows beside these, behind row 0 and with the same text."""
    concurrency: int = 1
    tries: int = 6
    ratio: float = 0.0
    """Share of the rows that must get an answer, until the last attempts."""
    budget: int | None = None
    """Tokens, until the last attempts."""
    follows_original: bool = False
    """Whether a conversation goes on after the row's own replies."""
    faults: Mapping[int, tuple[str, ...]] | None = None
    """Names of FAULTS by row, one after the other for each request about the row."""
    kills: tuple[Kill, ...] = ()
    """One an attempt."""

    @property
    def samples(self) -> int:
        """Replies to each request of a train or validation row."""
        return 3 if self.kind is Kind.VOTED else 1

    def rows(self, split: str) -> list[dict[str, Any]]:
        """The rows of a split."""
        counts = {"train": range(self.train), "validation": range(100, 100 + self.validation)}
        numbers = list(counts.get(split, range(200, 200 + self.test)))
        numbers[1:1] = [0] * self.copies if split == "train" else []
        return [_dialogue(number) if self.kind is Kind.TALKED else nli_row(number) for number in numbers]

    def generation(self) -> dict[str, Any]:
        """The settings."""
        return {
            "chainOfThought": self.kind is Kind.REASONED,
            "samples": self.samples,
            "history": "Original" if self.follows_original else "Teacher",
            "sampling": {"maxTokens": 100},
            "concurrency": self.concurrency,
            "minSuccessRatio": self.ratio,
            "filters": {"duplicates": "None"},
            **({"budget": {"maxTokens": self.budget}} if self.budget else {}),
        }


def _dialogue(number: int) -> dict[str, Any]:
    """A conversation of one to three turns, its own replies included."""
    messages = [{"role": "user", "content": f"Person {number} says hello."}]
    for turn in range(number % 3):
        messages += [
            {"role": "assistant", "content": f"Old reply {turn}."},
            {"role": "user", "content": f"And then, after {turn}?"},
        ]
    return {"messages": messages}


def number_of(messages: Sequence[Message]) -> int:
    """The row that a request is about."""
    found = re.search(r"Person (\d+)", " ".join(map(text_of, messages)))
    assert found
    return int(found[1])


def answer(messages: Sequence[Message]) -> Answer:
    """A label for sentences; for a conversation words that tell all that was said before."""
    number = number_of(messages)
    if any("Hypothesis" in text_of(message) for message in messages):
        return Answer(LABELS[number % 3], "So it is.")
    before = sum(len(text_of(message)) for message in messages)
    return Answer(f"Reply {len(messages)} to person {number} after {before} characters.")


# --- the teacher


class _Application(ChatApplication):
    """Tells what happens, and fails row by row."""

    def __init__(self) -> None:
        super().__init__(answer, self._fault, Rules(), latency=0.001)
        self.scripts: dict[int, list[str]] = {}
        self.on: Callable[[Moment], object] = lambda moment: None

    def _fault(self, call: Call) -> Fault | None:
        self.on(Moment.ARRIVED)
        script = self.scripts.get(number_of(call.messages))
        return FAULTS[script.pop(0)] if script else None

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer, and tell so once the answer is on its way."""
        response = await super().chat(request)
        asyncio.get_running_loop().call_soon(self.on, Moment.ANSWERED)
        return response


class FailingTeacher(TeacherServer):
    """The server for one run after the other."""

    def __init__(self) -> None:
        super().__init__(answer)
        self.application = self.failing = _Application()

    def begin(self, faults: Mapping[int, tuple[str, ...]]) -> None:
        """Forget what was, and fail by these scripts."""
        self.application.journal = type(self.application.journal)()
        self.failing.scripts = {number: list(names) for number, names in faults.items()}

    def wait_until_idle(self) -> None:
        """Wait for the completions whose client was killed; a body that trickles is never over."""
        while any(request.status is None and request.ended is None for request in self.requests):
            time.sleep(0.002)


class Trigger:
    """Ends a stage at the moment that a plan names."""

    def __init__(self, kill: Kill, stage: ForkedStage) -> None:
        self._kill, self._seen = kill, 0
        self._timer = threading.Timer(kill.milliseconds / 1000, stage.send, (kill.signal,))
        self.notice(Moment.BEGUN)

    def notice(self, moment: Moment) -> None:
        """Something happened."""
        self._seen += moment is self._kill.moment
        if self._seen == self._kill.request and moment is self._kill.moment:
            self._timer.start()

    def disarm(self) -> None:
        """End nothing any more."""
        self._timer.cancel()


# --- the run


@dataclass(frozen=True)
class Attempt:
    """One process, and what was there before it and after it."""

    began: datetime
    exit_code: int
    requests: tuple[int, int]
    """The teacher's requests before and after."""
    lines: tuple[int, int]
    """The journal's lines before and after."""
    is_relaxed: bool
    """Whether there was neither a budget nor a ratio to be met."""


class FaultyRun:
    """One plan carried out in a folder."""

    def __init__(self, root: Path, plan: FaultyRunPlan, teacher: FailingTeacher, stages: ForkedStages) -> None:
        self.plan, self._teacher, self._stages = plan, teacher, stages
        self.stage = GenerateRun(
            root,
            teacher.url,
            **{split: plan.rows(split) for split in ("train", "validation", "test")},
            generation=plan.generation(),
            config={"requestTimeoutSeconds": TIMEOUT, "maxAttempts": plan.tries},
        )
        if plan.kind is Kind.TALKED:
            self.stage.config["task"] = "Conversation"
        self.log = root / "log"
        self.attempts: list[Attempt] = []
        self.journal: list[dict[str, Any]] = []
        teacher.begin(plan.faults or {})

    @property
    def requests(self) -> list[RecordedRequest]:
        """The teacher's record."""
        return self._teacher.requests

    @property
    def stderr(self) -> str:
        """What all attempts wrote to standard error."""
        return self.log.read_text() if self.log.exists() else ""

    def run(self, check: Callable[[FaultyRun], object]) -> None:
        """Attempt after attempt, each followed by a check, until the stage is done."""
        for kill in (*self.plan.kills, None):
            self._attempt(kill, is_relaxed=False)
            check(self)
            if self.attempts[-1].exit_code == ExitCode.DONE:
                return
        relaxed = replace(self.plan, budget=None, ratio=0.0)
        self.stage.generation = relaxed.generation()
        while self.attempts[-1].exit_code != ExitCode.DONE:
            assert len(self.attempts) < _MAX_ATTEMPTS
            self._attempt(None, is_relaxed=True)
            check(self)

    def _attempt(self, kill: Kill | None, *, is_relaxed: bool) -> None:
        began, requests, lines = datetime.now(UTC), len(self.requests), len(self.journal)
        stage = self._stages.begin(self.stage.config_file, self.log)
        trigger = Trigger(kill, stage) if kill else None
        self._teacher.failing.on = trigger.notice if trigger else lambda moment: None
        exit_code = stage.wait()
        if trigger:
            trigger.disarm()
        self._teacher.wait_until_idle()
        self.journal = self.stage.journal()
        self.attempts.append(
            Attempt(began, exit_code, (requests, len(self.requests)), (lines, len(self.journal)), is_relaxed)
        )

    def result_of_last_attempt(self) -> StageResult | None:
        """What it wrote; None where it did not get that far."""
        if not (self.stage.workspace / self.stage.folder / "result.json").exists():
            return None
        result = self.stage.result
        return result if result.start_time and result.start_time >= self.attempts[-1].began else None

    def replies(self) -> list[tuple[RecordedRequest, dict[str, Any]]]:
        """The replies of the journal, each with the request that it answers."""
        by_id = {f"chatcmpl-{request.number:08}": request for request in self.requests}
        replies = [line["reply"] for line in self.journal if "key" in line]
        return [(by_id[reply["request_id"]], reply) for reply in replies]

    def description(self) -> str:
        """What happened, for people."""
        faults = Counter(request.fault or "none" for request in self.requests)
        return f"{self.plan}\n{self.attempts}\n{dict(faults)}\n{self.stderr}"
