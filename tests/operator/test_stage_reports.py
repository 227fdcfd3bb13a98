"""Running stages are asked beside the workers; one that does not answer is asked ever more rarely."""

from __future__ import annotations

import asyncio

from distillery_api.stage_result import Progress
from distillery_operator.controller.stage_reports import CONCURRENT, StageReports
from distillery_operator.core.observation import StageReport

KEY = ("team-a", "small")
ANSWER = StageReport(Progress(done=1, total=2, unit="rows"))


class Stages:
    """Stages that answer, or do not, and count who is asked."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer = ANSWER
        self.woken: list[tuple[str, str]] = []
        self.now, self.at_once, self.most_at_once = 0.0, 0, 0
        self.reports = StageReports(self.ask, 30.0, self.woken.append, lambda: self.now)

    async def ask(self, address: str) -> StageReport:
        self.requests.append(address)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.answer


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_wakes_its_distillation_and_is_given_once() -> None:
    stages = Stages()
    assert stages.reports.take(KEY, "10.0.0.7") == StageReport()
    await settle()
    assert (stages.woken, stages.reports.due_in(KEY)) == ([KEY], 30.0)
    assert stages.reports.take(KEY, "10.0.0.7") == ANSWER
    assert stages.reports.take(KEY, "10.0.0.7") == StageReport()
    assert stages.requests == ["10.0.0.7"]


async def test_a_stage_reports_again_after_the_interval() -> None:
    stages = Stages()
    for now in (0.0, 29.0, 30.0, 59.0, 60.0):
        stages.now = now
        stages.reports.take(KEY, "10.0.0.7")
        await settle()
    assert len(stages.requests) == 3


async def test_a_silent_stage_is_disturbed_ever_more_rarely_and_wakes_nobody() -> None:
    stages = Stages()
    stages.answer = StageReport()
    for second in range(0, 3600, 10):
        stages.now = float(second)
        stages.reports.take(KEY, "10.0.0.7")
        await settle()
    # At the start, after 1, 2, 4, 8 and 16 minutes more, and after 16 minutes more.
    assert (len(stages.requests), stages.woken) == (7, [])


async def test_another_pod_is_a_stage_of_its_own() -> None:
    stages = Stages()
    stages.answer = StageReport()
    stages.reports.take(KEY, "10.0.0.7")
    await settle()
    stages.reports.take(KEY, "10.0.0.8")
    await settle()
    assert stages.requests == ["10.0.0.7", "10.0.0.8"]


async def test_two_hundred_stages_answer_a_few_at_a_time_and_nobody_waits_for_them() -> None:
    stages = Stages()
    for number in range(200):
        assert stages.reports.take(("team-a", str(number)), "10.0.0.7") == StageReport()
    assert stages.requests == []
    for _ in range(50):
        await settle()
    assert (len(stages.requests), stages.most_at_once) == (200, CONCURRENT)


async def test_a_stage_that_has_ended_is_forgotten() -> None:
    stages = Stages()
    stages.reports.take(KEY, "10.0.0.7")
    stages.reports.forget(KEY)
    await settle()
    assert (stages.requests, stages.woken) == ([], [])
