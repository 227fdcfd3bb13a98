"""The budget: what is reserved before a request, and that it is never exceeded."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_faults import rate_limited, server_error, slow, where, without_usage
from chat_protocol import prompt_tokens
from direct_chat_client import ask_all, chat_client, prompt_about, run_config
from distillery_api.spec.teacher import Budget, Pricing
from distillery_trainer.chat.budget import BudgetExhausted, RequestBudget
from distillery_trainer.chat.prices import Prices, Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.token_estimate import TokenEstimate
from distillery_trainer.runtime.errors import UserError
from teacher_server import gold_teacher

PROMPTS = [prompt_about(number) for number in range(40)]
GOLD = {messages[-1]["content"]: "neutral" for messages in PROMPTS}
PRICING = {"currency": "EUR", "inputPerMillion": 1.0, "outputPerMillion": 10.0, "cachedInputPerMillion": 0.1}


def budget(journal: ReplyJournal, **limits: object) -> RequestBudget:
    return RequestBudget(Budget.model_validate(limits), journal)


# --- estimates


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_no_prompt_has_more_tokens_than_its_bound(texts):
    messages = [{"role": "user", "content": text} for text in texts]
    assert prompt_tokens({"messages": messages}) <= TokenEstimate().at_most(messages)


def test_bound_grows_with_what_a_server_adds_by_itself():
    estimate, messages = TokenEstimate(), prompt_about(1)
    before = estimate.at_most(messages)
    estimate.learn(messages, before + 100)
    assert estimate.at_most(messages) == before + 100


def test_expected_tokens_follow_what_is_observed():
    estimate = TokenEstimate()
    assert estimate.expected(1000) == 250
    for number in range(1000):
        estimate.learn(prompt_about(number), 80)
    assert estimate.of_prompt(prompt_about(1)) in range(70, 80)


# --- prices


def test_price_of_a_call_knows_the_cache():
    prices = Prices(Pricing.model_validate(PRICING))
    assert prices.of(1000, 100) == Spending(1100, 0.002)
    assert prices.of(1000, 100, cached_tokens=800) == Spending(1100, 0.00128)
    assert prices.at_most(1000, 100) == Spending(1100, 0.002)
    assert Prices(None).of(1000, 100) == Spending(1100, 0.0)


def test_reservation_covers_a_cache_that_costs_more_than_input():
    prices = Prices(
        Pricing(currency="EUR", input_per_million=1.0, output_per_million=0.0, cached_input_per_million=2.0)
    )
    assert prices.at_most(1000, 0) == Spending(1000, 0.002)


# --- reserving


async def test_request_waits_for_what_others_release(tmp_path):
    with ReplyJournal(tmp_path / "replies", "generate-a") as journal:
        limited = budget(journal, maxTokens=1000)
        first = await limited.reserve(Spending(800))
        second = asyncio.create_task(limited.reserve(Spending(800)))
        await asyncio.sleep(0.01)
        assert not second.done()
        journal.add_reply("a" * 64, Reply("neutral", "stop"), Spending(100), reserved=first)
        limited.settle()
        assert await second == Spending(800)


async def test_nothing_is_waited_for_where_no_request_can_release(tmp_path):
    with ReplyJournal(tmp_path / "replies", "generate-a") as journal, pytest.raises(BudgetExhausted) as caught:
        await budget(journal, maxTokens=1000).reserve(Spending(1001))
    assert str(caught.value) == (
        "0 of the 1,000 tokens of generation.budget.maxTokens are used, and the next request may need up to 1,001"
    )


async def test_cost_is_a_limit_of_its_own(tmp_path):
    with ReplyJournal(tmp_path / "replies", "generate-a", Pricing.model_validate(PRICING)) as journal:
        limited = budget(journal, maxTokens=1_000_000, maxCost=0.5)
        await limited.reserve(Spending(10, 0.5))
        limited.settle()
        with pytest.raises(BudgetExhausted) as caught:
            await limited.reserve(Spending(10, 0.0001))
    assert str(caught.value) == (
        "0.5000 of the 0.5 EUR of generation.budget.maxCost are used, and the next request may cost up to 0.0001"
    )


# --- with a server

LIMITED = {"sampling": {"maxTokens": 16}, "concurrency": 8}


@pytest.mark.parametrize("limit", [{"maxTokens": 900}, {"maxCost": 0.001}])
async def test_budget_is_never_exceeded(tmp_path, limit):
    with gold_teacher(GOLD, latency=0.01) as server:
        config = run_config(tmp_path, server.url, teacher={"pricing": PRICING}, generation=LIMITED | {"budget": limit})
        async with chat_client(config) as (teacher, journal):
            outcomes = await ask_all(teacher, PROMPTS)
            assert {type(outcome) for outcome in outcomes} == {Reply, BudgetExhausted}
            used = server.statistics()
            assert journal.spent.tokens == used["promptTokens"] + used["completionTokens"]
            assert journal.spent.tokens <= limit.get("maxTokens", 1_000_000)
            assert journal.spent.cost <= limit.get("maxCost", 1.0)
            assert journal.usage.cost == pytest.approx(journal.spent.cost, abs=1e-6)


async def test_rejected_requests_cost_nothing_and_timed_out_ones_their_reservation(tmp_path):
    faults = {1: rate_limited(0), 2: server_error(500), 3: slow(30)}
    with gold_teacher(GOLD, faults=lambda call: faults.get(call.number)) as server:
        config = run_config(
            tmp_path,
            server.url,
            generation=LIMITED | {"budget": {"maxTokens": 100_000}},
            config={"requestTimeoutSeconds": 0.3},
        )
        async with chat_client(config) as (teacher, journal):
            first = await teacher.ask(PROMPTS[1])
            reply = await teacher.ask(PROMPTS[0])
            timed_out = TokenEstimate().at_most(PROMPTS[0]) + 16
            assert journal.spent.tokens == first.tokens + reply.tokens + timed_out


async def test_reply_without_token_counts_costs_its_reservation(tmp_path):
    with gold_teacher(GOLD, faults=lambda call: without_usage()) as server:
        config = run_config(tmp_path, server.url, generation=LIMITED | {"budget": {"maxTokens": 100_000}})
        async with chat_client(config) as (teacher, journal):
            await teacher.ask(PROMPTS[0])
            assert journal.spent.tokens == TokenEstimate().at_most(PROMPTS[0]) + 16
            assert journal.usage.uncounted_replies == 1
            assert 15 < journal.usage.input_tokens < 30


async def test_budget_cannot_be_enforced_without_a_limit_on_replies(tmp_path):
    with gold_teacher(GOLD, refused_parameters=("max_tokens", "max_completion_tokens")) as server:
        config = run_config(tmp_path, server.url, generation=LIMITED | {"budget": {"maxTokens": 100_000}})
        async with chat_client(config) as (teacher, _):
            await teacher.ask(PROMPTS[0])
            with pytest.raises(UserError, match="accepts no limit on the length of a reply"):
                await teacher.ask(PROMPTS[1])


async def test_judge_spends_from_the_same_budget(tmp_path):
    with gold_teacher(GOLD) as server:
        config = run_config(
            tmp_path,
            server.url,
            generation=LIMITED | {"budget": {"maxTokens": 400}, "judge": {"endpoint": server.url, "model": "teacher"}},
        )
        async with chat_client(config) as (teacher, journal):
            judge = teacher.for_judge(config.generation.judge, {"max_tokens": 16, "temperature": 0})
            await teacher.ask(PROMPTS[0])
            for messages in PROMPTS[:4]:
                await judge.ask(messages)
            outcomes = await ask_all(teacher, PROMPTS)
            assert BudgetExhausted in {type(outcome) for outcome in outcomes}
            assert journal.spent.tokens <= 400
            await judge.close()


async def test_rejected_row_releases_its_reservation(tmp_path):
    with gold_teacher(GOLD, faults=where("Person 3 ", server_error(418))) as server:
        config = run_config(tmp_path, server.url, generation=LIMITED | {"budget": {"maxTokens": 100_000}})
        async with chat_client(config) as (teacher, journal):
            await ask_all(teacher, PROMPTS)
            used = server.statistics()
            assert journal.spent.tokens == used["promptTokens"] + used["completionTokens"]
