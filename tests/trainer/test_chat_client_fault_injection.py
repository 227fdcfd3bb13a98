"""Random faults and random kills: no reply is paid for twice, and no budget exceeded, whatever happens when."""

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_faults import (
    Fault,
    closed_connection,
    content_refused,
    html_page,
    rate_limited,
    server_error,
    slow,
    verbatim,
    without_usage,
)
from direct_chat_client import BudgetExhausted, Failure, Reply, chat_client, prompt_about, run_config
from distillery_trainer.data.rows import Message
from distillery_trainer.runtime.errors import TryLater, UserError
from nonstandard_replies import error_as_200, streamed
from teacher_server import gold_teacher

PROMPTS = [prompt_about(number) for number in range(12)]
GOLD = {messages[-1]["content"]: "neutral" for messages in PROMPTS}
FAULTS = [
    rate_limited(0.01),
    rate_limited(0),
    server_error(500),
    server_error(418),
    html_page(200),
    closed_connection(),
    content_refused(),
    error_as_200(),
    slow(0.4),
    streamed("neu", "tral"),
    without_usage(),
    verbatim("sideways"),
]
TIME_OUT = 0.25

storms = st.lists(st.none() | st.none() | st.sampled_from(FAULTS), max_size=40)


@pytest.fixture(scope="module")
def server():
    with gold_teacher(GOLD) as one:
        yield one


async def ask_until_killed(config: Any, prompts: list[list[Message]], kill_after: float | None) -> list[Any]:
    """The outcomes of all requests that had finished when everything ended at once."""
    async with chat_client(config) as (teacher, _):
        teacher.retries.first_back_off = 0.01
        tasks = [asyncio.create_task(teacher.ask(messages)) for messages in prompts]
        await asyncio.wait(tasks, timeout=kill_after)
        for task in tasks:
            task.cancel()  # as at a kill, nothing is noted after this
        return await asyncio.gather(*tasks, return_exceptions=True)


def kept_keys(config: Any) -> Counter[str]:
    """The requests that have a reply in the journal, and how often."""
    return Counter(line["key"] for line in journal_lines(config) if "key" in line)


def journal_lines(config: Any) -> Iterator[dict[str, Any]]:
    for path in sorted((Path(config.workspace) / "replies").glob("*.jsonl")):
        yield from (json.loads(line) for line in path.read_text().splitlines())


@settings(max_examples=300, deadline=None)
@given(
    storm=storms,
    numbers=st.lists(st.sampled_from(range(12)), min_size=1, max_size=20),
    concurrency=st.sampled_from([1, 3, 8]),
    budget=st.none() | st.sampled_from([200, 700, 2000]),
    kills=st.lists(st.floats(0.0, 0.15), max_size=2),
)
def test_no_reply_is_paid_for_twice_and_no_budget_exceeded(server, storm, numbers, concurrency, budget, kills):
    faults: Iterator[Fault | None] = iter(storm)
    server.faults = lambda call: next(faults, None)
    before = len(server.requests)
    prompts = [PROMPTS[number] for number in numbers]
    limits = {"budget": {"maxTokens": budget}} if budget else {}
    with tempfile.TemporaryDirectory() as folder:
        config = run_config(
            Path(folder),
            server.url,
            generation={"concurrency": concurrency, "sampling": {"maxTokens": 16}, **limits},
            config={"requestTimeoutSeconds": TIME_OUT, "maxAttempts": 3},
        )
        with contextlib.suppress(Exception):
            for kill_after in kills:
                asyncio.run(ask_until_killed(config, prompts, kill_after))
        outcomes = asyncio.run(ask_until_killed(config, prompts, None))

        # Every request ends exactly once: with a reply, a reason, the budget, or the end of all that comes first.
        assert len(outcomes) == len(numbers)
        assert {type(outcome) for outcome in outcomes} <= {Reply, Failure, BudgetExhausted, TryLater, UserError}
        assert all("the first request" in outcome.message for outcome in outcomes if isinstance(outcome, TryLater))
        # A server that answers the first request with a web page is taken for something other than a chat API.
        assert all("not a chat API" in outcome.message for outcome in outcomes if isinstance(outcome, UserError))
        assert all(outcome.reason for outcome in outcomes if isinstance(outcome, Failure))
        assert budget or not any(isinstance(outcome, BudgetExhausted) for outcome in outcomes)

        # A request has one reply for ever: two only where the first one's journal line never was.
        keys = kept_keys(config)
        assert set(keys.values()) <= {1}

        # Complete replies: at most those in flight at a kill were requested again.
        good = Counter(
            request.user_text
            for request in server.requests[before:]
            if request.status == 200 and request.fault in (None, "none", "without_usage", "verbatim")
        )
        assert sum(good.values()) - len(good) <= len(kills) * concurrency + storm.count(FAULTS[8])

        # What the server counted for whole replies is within the budget, and so is what the books say.
        spent = sum(line["spent"] for line in journal_lines(config))
        assert budget is None or spent <= budget
