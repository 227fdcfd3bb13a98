"""The report of a running stage, over HTTP; whatever is wrong with it, the operator continues."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from distillery_api.stage_result import Progress
from distillery_api.usage import Estimate
from distillery_operator.cluster.stage_client import read_stage_report
from distillery_operator.core.observation import StageReport

TEXT = """\
# HELP distillery_stage_done Units done.
# TYPE distillery_stage_done gauge
distillery_stage_done{stage="train",unit="steps"} 30.0
# TYPE distillery_stage_total gauge
distillery_stage_total{stage="train",unit="steps"} 120.0
# TYPE process_cpu_seconds counter
process_cpu_seconds_total 3.5
"""


ESTIMATE = Estimate(
    rows=9, requests=9, input_tokens=900, output_tokens=45, low_tokens=800, high_tokens=2000, cost=0.01, currency="USD"
)


class Pod:
    """A server on loopback with configured answers, and an estimate only where it has one."""

    def __init__(self) -> None:
        self.body, self.status, self.delay, self.port = TEXT, 200, 0.0, 0
        self.estimate = ""

    async def answer(self, _: web.Request) -> web.Response:
        await asyncio.sleep(self.delay)
        return web.Response(text=self.body, status=self.status)

    async def answer_estimate(self, _: web.Request) -> web.Response:
        await asyncio.sleep(self.delay)
        return web.Response(text=self.estimate, status=200 if self.estimate else 404)


@pytest.fixture
def unreachable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    made = Pod()
    application = web.Application()
    application.router.add_get("/metrics", made.answer)
    application.router.add_get("/estimate", made.answer_estimate)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


async def test_a_pod_with_an_address_of_ipv6_is_reached() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    made, application = Pod(), web.Application()
    application.router.add_get("/metrics", made.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "::1", 0).start()
    report = await read_stage_report("::1", runner.addresses[0][1])
    await runner.cleanup()
    assert report == StageReport(Progress(done=30, total=120, unit="steps"))


async def test_a_pod_that_answers_reports_its_progress(pod: Pod) -> None:
    assert await read_stage_report("127.0.0.1", pod.port) == StageReport(Progress(done=30, total=120, unit="steps"))


async def test_a_pod_that_has_an_estimate_reports_it_too(pod: Pod) -> None:
    pod.estimate = ESTIMATE.model_dump_json(by_alias=True)
    assert await read_stage_report("127.0.0.1", pod.port) == StageReport(
        Progress(done=30, total=120, unit="steps"), ESTIMATE
    )


@pytest.mark.parametrize("estimate", ["<html>", "{}", "[]", '{"rows": "many"}'])
async def test_an_invalid_estimate_leaves_the_progress(pod: Pod, estimate: str) -> None:
    pod.estimate = estimate
    assert await read_stage_report("127.0.0.1", pod.port) == StageReport(Progress(done=30, total=120, unit="steps"))


@pytest.mark.parametrize(("status", "body"), [(500, TEXT), (404, ""), (200, "<html>\x00</html>"), (302, "")])
async def test_a_pod_that_answers_something_else_reports_nothing(pod: Pod, status: int, body: str) -> None:
    pod.status, pod.body = status, body
    assert await read_stage_report("127.0.0.1", pod.port) == StageReport()


async def test_an_endless_answer_is_cut_off(pod: Pod) -> None:
    pod.body = TEXT + "# padding\n" * 100_000
    assert await read_stage_report("127.0.0.1", pod.port) == StageReport(Progress(done=30, total=120, unit="steps"))


async def test_a_silent_pod_costs_two_seconds_at_most(pod: Pod) -> None:
    pod.delay = 30
    started = asyncio.get_running_loop().time()
    assert await read_stage_report("127.0.0.1", pod.port) == StageReport()
    assert asyncio.get_running_loop().time() - started < 3


async def test_a_deleted_pod_reports_nothing() -> None:
    assert await read_stage_report("127.0.0.1", 1) == StageReport()


async def test_a_stage_is_reached_without_a_proxy(pod: Pod, unreachable_proxy: None) -> None:
    report = await read_stage_report("127.0.0.1", pod.port)
    assert report.progress == Progress(done=30, total=120, unit="steps")
