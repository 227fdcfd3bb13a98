"""Random runs of the generate stage: whatever the teacher does and whenever the process is killed, every row ends
exactly once, and nothing is paid for twice.

A failing run is printed as a FaultyRunPlan: put `@example(plan=...)` above the test to repeat it. With a number in the
environment variable FAULT_SEED, other runs are tried than the usual ones.
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
from faulty_generate_runs import FAULTS, FailingTeacher, FaultyRun, FaultyRunPlan, Kill, Kind, Moment
from forked_stages import ForkedStages

pytestmark = pytest.mark.slow

MAX_RUNS = 100
"""For each kind of row."""
SECONDS = 50.0
"""For each kind, too: where other work keeps the machine busy, there are fewer runs."""
SPLITS = ("train", "validation", "test")


# --- the plans

BUDGETS = {Kind.REASONED: (1200, 5000), Kind.VOTED: (400, 3000), Kind.TALKED: (300, 2000)}
"""Tokens: from one call to more than all of them."""


def few(what, most):
    """None to `most` of something, all numbers alike: a list of hypothesis is mostly a short one."""
    return st.integers(0, most).flatmap(lambda number: st.lists(what, min_size=number, max_size=number).map(tuple))


KILLS = st.one_of(
    st.builds(Kill, st.just(Moment.BEGUN), milliseconds=st.integers(0, 120), graceful=st.booleans()),
    st.builds(
        Kill,
        st.sampled_from([Moment.ARRIVED, Moment.ANSWERED]),
        st.integers(1, 16),
        st.sampled_from([0, 0, 1, 3, 10, 30]),
        graceful=st.booleans(),
    ),
)


@st.composite
def plans(draw, kind):
    train, validation, test = draw(st.integers(1, 7)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    # All is well with the last train and validation row, so that there is something to keep in the end.
    risky = [*range(train - 1), *range(100, 99 + validation), *range(200, 200 + test)]
    return FaultyRunPlan(
        kind,
        train,
        validation,
        test,
        copies=draw(st.integers(0, 2)),
        concurrency=draw(st.integers(1, 4)),
        tries=draw(st.sampled_from([6, 1, 2, 3])),
        ratio=draw(st.sampled_from([0.0, 0.0, 0.7])),
        budget=draw(st.none() | st.integers(*BUDGETS[kind])),
        follows_original=draw(st.booleans()),
        faults={row: draw(few(st.sampled_from(list(FAULTS)), 4)) for row in risky},
        kills=draw(few(KILLS, 4)),
    )


# --- what never happens


def check(run: FaultyRun) -> None:
    """After every attempt."""
    assert "Traceback" not in run.stderr
    assert "never retrieved" not in run.stderr
    assert run.attempts[-1].exit_code in (0, 2, 3, 143, -9, -15)  # never 1: that would be a crash
    no_request_is_lost_but_those_in_flight(run)
    no_reply_is_requested_again(run)
    what_is_spent_is_known(run)
    if run.attempts[-1].exit_code >= 0:
        counts_agree_with_the_files(run)


def no_request_is_lost_but_those_in_flight(run: FaultyRun) -> None:
    """Every request is a line of the journal, its reply or its failure, but for those in flight when it all ended."""
    attempt = run.attempts[-1]
    lines = run.journal[slice(*attempt.lines)]
    noted = sum("key" in line or line.get("failed", "not_asked") != "not_asked" for line in lines)
    lost = attempt.requests[1] - attempt.requests[0] - noted  # fewer than none, where a call never got through
    assert lost <= (0 if attempt.exit_code == ExitCode.DONE else run.plan.concurrency)


def no_reply_is_requested_again(run: FaultyRun) -> None:
    """As many replies to a request as there are samples, and no request once they stand in the journal."""
    keys = [line["key"] for line in run.journal if "key" in line]
    assert len(keys) == len(set(keys))
    answered: dict[str, list[float]] = {}
    for request, _ in run.replies():
        answered.setdefault(json.dumps(request.messages), []).append(request.ended)
    for request in run.requests:
        before = [ended for ended in answered.get(json.dumps(request.messages), []) if ended <= request.started]
        assert len(before) < run.plan.samples


def what_is_spent_is_known(run: FaultyRun) -> None:
    """With a budget, the teacher never counts more than is noted, and what is noted is never more than the budget."""
    if run.plan.budget is None or run.attempts[-1].is_relaxed:
        return
    spent = sum(line["spent"] for line in run.journal)
    counted = sum(request.tokens for request in run.requests)
    assert counted <= spent <= run.plan.budget


def counts_agree_with_the_files(run: FaultyRun) -> None:
    """What the result says is what is there."""
    result = run.result_of_last_attempt()
    if result is None or not result.files:
        return
    # A stop request may arrive when the result is already written.
    assert run.attempts[-1].exit_code in (result.exit_code, ExitCode.TERMINATED)
    rejected = run.stage.rows("rejected")
    for split in SPLITS:
        counts = result.splits[split]
        reasons = Counter(row["reason"] for row in rejected if row["split"] == split)
        assert counts.kept == len(ids(run, split))
        assert counts.rejected == reasons.total()
        assert counts.rejected_by_reason == reasons
        assert counts.read == counts.kept + counts.rejected
    assert result.rows.kept == sum(len(ids(run, split)) for split in SPLITS)
    assert result.rows.rejected_by_reason == Counter(row["reason"] for row in rejected)
    replies = [line["reply"] for line in run.journal if "key" in line]
    assert result.usage.requests == sum(line.get("requests", 0) for line in run.journal)
    assert result.usage.uncounted_replies == sum(reply["input_tokens"] is None for reply in replies)


def ids(run: FaultyRun, file: str) -> list[str]:
    """The rows of a file, each once: a conversation has a line for each of its turns."""
    found = [row["id"] for row in run.stage.rows(file)]
    return [row for index, row in enumerate(found) if found[index - 1 : index] != [row]]


# --- what has happened in the end


def check_end(run: FaultyRun) -> None:
    """When the stage is done."""
    every_row_is_in_one_file_and_in_order(run)
    kept_answers_are_what_the_teacher_said(run)
    names = {path.name for path in (run.stage.workspace / run.stage.folder).iterdir()}
    assert not any(name.endswith(".draft") for name in names)


def every_row_is_in_one_file_and_in_order(run: FaultyRun) -> None:
    expected = {split: [f"{split}-{line}" for line in range(1, len(run.plan.rows(split)) + 1)] for split in SPLITS}
    rejected = [row["id"] for row in run.stage.rows("rejected")]
    for split in ("train", "validation"):
        kept = ids(run, split)
        assert sorted([*kept, *(row for row in rejected if row.startswith(split))]) == sorted(expected[split])
        assert kept == [row for row in expected[split] if row in kept]
    assert ids(run, "test") == expected["test"]
    assert rejected == [row for split in ("train", "validation") for row in expected[split] if row in rejected]


def kept_answers_are_what_the_teacher_said(run: FaultyRun) -> None:
    replies_to: dict[str, list[tuple[list, str]]] = {}
    for request, reply in run.replies():
        replies_to.setdefault(row_text(request.messages), []).append((request.messages, reply["content"]))
    for split in ("train", "validation"):
        for row in run.stage.rows(split):
            answer = row["completion"][0]["content"]
            replies = replies_to[row_text(row["prompt"])]
            if run.plan.kind is Kind.TALKED:
                assert (row["prompt"], answer) in [(messages, text.strip()) for messages, text in replies]
            elif run.plan.kind is Kind.REASONED:
                assert answer in replies[-1][1]
            else:
                assert sum(answer in text for _, text in replies) >= 2
    for row in [*run.stage.rows("test"), *run.stage.rows("rejected")]:
        assert row["reply"] is None or row["reply"] in [reply["content"] for _, reply in run.replies()]


def row_text(messages: list[dict[str, str]]) -> str:
    """The row's own first words, without the marks around them."""
    first = next(message["content"] for message in messages if message["role"] == "user")
    return first.replace("<item>\n", "").replace("\n</item>", "")


# --- the runs


@pytest.fixture(scope="module")
def stages():
    with ForkedStages() as warm:
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


def run_to_the_end(plan: FaultyRunPlan, teacher: FailingTeacher, stages: ForkedStages, clock: Clock) -> None:
    if time.monotonic() > clock.ends:
        return
    with tempfile.TemporaryDirectory() as root:
        run = FaultyRun(Path(root), plan, teacher, stages)
        try:
            run.run(check)
            check_end(run)
        except BaseException:
            clock.ends = math.inf  # to find the smallest plan that fails takes as long as it takes
            note(run.description())
            raise


def random_runs(test):
    """With the usual plans, or with others."""
    chosen = os.environ.get("FAULT_SEED")
    usual = settings(
        max_examples=MAX_RUNS,
        derandomize=chosen is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    return seed(int(chosen))(usual(test)) if chosen else usual(test)


@random_runs
@given(plans(Kind.REASONED))
def test_chain_of_thought_ends_every_row_once_and_pays_for_nothing_twice(teacher, stages, clock, plan):
    run_to_the_end(plan, teacher, stages, clock)


@random_runs
@given(plans(Kind.VOTED))
def test_majority_vote_ends_every_row_once_and_pays_for_nothing_twice(teacher, stages, clock, plan):
    run_to_the_end(plan, teacher, stages, clock)


@random_runs
@given(plans(Kind.TALKED))
def test_conversations_end_every_row_once_and_pay_for_nothing_twice(teacher, stages, clock, plan):
    run_to_the_end(plan, teacher, stages, clock)
