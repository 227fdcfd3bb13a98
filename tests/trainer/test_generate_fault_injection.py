"""Random lives of the generate stage: whatever the teacher does and whenever the process is killed, every row ends
exactly once, and nothing is paid for twice.

A failing life is printed as a Plan: put `@example(plan=...)` above the test to live it again. With a number in
the environment variable FAULT_SEED, other lives are tried than the usual ones.
"""

import json
import math
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from distillery_api.stage import ExitCode
from generate_lives import FAULTS, FailingTeacher, Kill, Kind, Life, Moment, Plan
from warm_stages import WarmStages

pytestmark = pytest.mark.slow

LIVES = 100
"""For each kind of question."""
SECONDS = 50.0
"""For each kind, too: where other work keeps the machine busy, there are fewer lives."""
SPLITS = ("train", "validation", "test")


# --- the plans

BUDGETS = {Kind.REASONED: (1200, 5000), Kind.VOTED: (400, 3000), Kind.TALKED: (300, 2000)}
"""Tokens: from one call to more than all of them."""


def few(what, most):
    """None to `most` of something, all numbers alike: a list of hypothesis is mostly a short one."""
    return st.integers(0, most).flatmap(lambda number: st.lists(what, min_size=number, max_size=number).map(tuple))


KILLS = st.one_of(
    st.builds(Kill, st.just(Moment.BEGUN), milliseconds=st.integers(0, 120), kindly=st.booleans()),
    st.builds(
        Kill,
        st.sampled_from([Moment.ARRIVED, Moment.ANSWERED]),
        st.integers(1, 16),
        st.sampled_from([0, 0, 1, 3, 10, 30]),
        kindly=st.booleans(),
    ),
)


@st.composite
def plans(draw, kind):
    train, validation, test = draw(st.integers(1, 7)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    # All is well with the last train and validation row, so that there is something to keep in the end.
    risky = [*range(train - 1), *range(100, 99 + validation), *range(200, 200 + test)]
    return Plan(
        kind,
        train,
        validation,
        test,
        twins=draw(st.integers(0, 2)),
        concurrency=draw(st.integers(1, 4)),
        tries=draw(st.sampled_from([6, 1, 2, 3])),
        ratio=draw(st.sampled_from([0.0, 0.0, 0.7])),
        budget=draw(st.none() | st.integers(*BUDGETS[kind])),
        follows_original=draw(st.booleans()),
        faults={row: draw(few(st.sampled_from(list(FAULTS)), 4)) for row in risky},
        kills=draw(few(KILLS, 4)),
    )


# --- what never happens


def check(life: Life) -> None:
    """After every attempt."""
    assert "Traceback" not in life.said
    assert "never retrieved" not in life.said
    assert life.attempts[-1].exit_code in (0, 2, 3, 143, -9, -15)  # never 1: that would be a crash
    no_request_is_lost_but_those_in_flight(life)
    no_reply_is_asked_for_again(life)
    what_is_spent_is_known(life)
    if life.attempts[-1].exit_code >= 0:
        counts_agree_with_the_files(life)


def no_request_is_lost_but_those_in_flight(life: Life) -> None:
    """Every request is a line of the journal, its reply or its failure, but for those in flight when it all ended."""
    attempt = life.attempts[-1]
    lines = life.journal[slice(*attempt.lines)]
    noted = sum("key" in line or line.get("failed", "not_asked") != "not_asked" for line in lines)
    lost = attempt.requests[1] - attempt.requests[0] - noted  # fewer than none, where a call never got through
    assert lost <= (0 if attempt.exit_code == ExitCode.DONE else life.plan.concurrency)


def no_reply_is_asked_for_again(life: Life) -> None:
    """As many replies to a question as there are samples, and no request once they stand in the journal."""
    keys = [line["key"] for line in life.journal if "key" in line]
    assert len(keys) == len(set(keys))
    answered: dict[str, list[float]] = {}
    for request, _ in life.replies():
        answered.setdefault(json.dumps(request.messages), []).append(request.ended)
    for request in life.requests:
        before = [ended for ended in answered.get(json.dumps(request.messages), []) if ended <= request.started]
        assert len(before) < life.plan.samples


def what_is_spent_is_known(life: Life) -> None:
    """With a budget, the teacher never counts more than is noted, and what is noted is never more than the budget."""
    if life.plan.budget is None or life.attempts[-1].is_relaxed:
        return
    spent = sum(line["spent"] for line in life.journal)
    counted = sum(request.tokens for request in life.requests)
    assert counted <= spent <= life.plan.budget


def counts_agree_with_the_files(life: Life) -> None:
    """What the result says is what is there."""
    result = life.result_of_last_attempt()
    if result is None or not result.files:
        return
    # It may be told to stop when the result is written already.
    assert life.attempts[-1].exit_code in (result.exit_code, ExitCode.TERMINATED)
    rejected = life.stage.rows("rejected")
    for split in SPLITS:
        counts = result.splits[split]
        reasons = Counter(row["reason"] for row in rejected if row["split"] == split)
        assert counts.kept == len(ids(life, split))
        assert counts.rejected == reasons.total()
        assert counts.rejected_by_reason == reasons
        assert counts.read == counts.kept + counts.rejected
    assert result.rows.kept == sum(len(ids(life, split)) for split in SPLITS)
    assert result.rows.rejected_by_reason == Counter(row["reason"] for row in rejected)
    replies = [line["reply"] for line in life.journal if "key" in line]
    assert result.usage.requests == sum(line.get("requests", 0) for line in life.journal)
    assert result.usage.uncounted_replies == sum(reply["input_tokens"] is None for reply in replies)


def ids(life: Life, file: str) -> list[str]:
    """The rows of a file, each once: a conversation has a line for each of its turns."""
    found = [row["id"] for row in life.stage.rows(file)]
    return [row for place, row in enumerate(found) if found[place - 1 : place] != [row]]


# --- what has happened in the end


def check_end(life: Life) -> None:
    """When the stage is done."""
    every_row_is_in_one_file_and_in_order(life)
    kept_answers_are_what_the_teacher_said(life)
    names = {path.name for path in (life.stage.workspace / life.stage.folder).iterdir()}
    assert not any(name.endswith(".draft") for name in names)


def every_row_is_in_one_file_and_in_order(life: Life) -> None:
    expected = {split: [f"{split}-{line}" for line in range(1, len(life.plan.rows(split)) + 1)] for split in SPLITS}
    rejected = [row["id"] for row in life.stage.rows("rejected")]
    for split in ("train", "validation"):
        kept = ids(life, split)
        assert sorted([*kept, *(row for row in rejected if row.startswith(split))]) == sorted(expected[split])
        assert kept == [row for row in expected[split] if row in kept]
    assert ids(life, "test") == expected["test"]
    assert rejected == [row for split in ("train", "validation") for row in expected[split] if row in rejected]


def kept_answers_are_what_the_teacher_said(life: Life) -> None:
    said: dict[str, list[tuple[list, str]]] = {}
    for request, reply in life.replies():
        said.setdefault(row_text(request.messages), []).append((request.messages, reply["content"]))
    for split in ("train", "validation"):
        for row in life.stage.rows(split):
            answer = row["completion"][0]["content"]
            replies = said[row_text(row["prompt"])]
            if life.plan.kind is Kind.TALKED:
                assert (row["prompt"], answer) in [(messages, text.strip()) for messages, text in replies]
            elif life.plan.kind is Kind.REASONED:
                assert answer in replies[-1][1]
            else:
                assert sum(answer in text for _, text in replies) >= 2
    for row in [*life.stage.rows("test"), *life.stage.rows("rejected")]:
        assert row["reply"] is None or row["reply"] in [reply["content"] for _, reply in life.replies()]


def row_text(messages: list[dict[str, str]]) -> str:
    """The row's own first words, without the marks around them."""
    first = next(message["content"] for message in messages if message["role"] == "user")
    return first.replace("<item>\n", "").replace("\n</item>", "")


# --- the lives


@pytest.fixture(scope="module")
def stages():
    with WarmStages() as warm:
        yield warm


@pytest.fixture(scope="module")
def teacher():
    with FailingTeacher() as server:
        yield server


@dataclass
class Clock:
    ends: float


@pytest.fixture
def clock():
    return Clock(time.monotonic() + SECONDS)


def live(plan: Plan, teacher: FailingTeacher, stages: WarmStages, clock: Clock) -> None:
    if time.monotonic() > clock.ends:
        return
    with tempfile.TemporaryDirectory() as root:
        life = Life(Path(root), plan, teacher, stages)
        try:
            life.run(check)
            check_end(life)
        except BaseException:
            clock.ends = math.inf  # to find the smallest plan that fails takes as long as it takes
            note(life.story())
            raise


def lived(test):
    """With the usual plans, or with others."""
    chosen = os.environ.get("FAULT_SEED")
    usual = settings(
        max_examples=LIVES,
        derandomize=chosen is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    return seed(int(chosen))(usual(test)) if chosen else usual(test)


@lived
@given(plans(Kind.REASONED))
def test_chain_of_thought_ends_every_row_once_and_pays_for_nothing_twice(teacher, stages, clock, plan):
    live(plan, teacher, stages, clock)


@lived
@given(plans(Kind.VOTED))
def test_votes_end_every_row_once_and_pay_for_nothing_twice(teacher, stages, clock, plan):
    live(plan, teacher, stages, clock)


@lived
@given(plans(Kind.TALKED))
def test_conversations_end_every_row_once_and_pay_for_nothing_twice(teacher, stages, clock, plan):
    live(plan, teacher, stages, clock)
