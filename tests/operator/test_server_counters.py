"""What serving Pods have counted, as each runtime writes it, and who asks them."""

from __future__ import annotations

import asyncio

import pytest

from distillery_api.status import RequestCounters
from distillery_operator.controller.canary_readings import CanaryReadings
from distillery_operator.core.observation import CanaryCounters, Observation, ObservedDeployment, Ownership, ReadyPod
from distillery_operator.core.server_counters import parse_server_counters

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="conjnli"} 1.0
# HELP vllm:e2e_request_latency_seconds Histogram of e2e request latency in seconds.
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3",model_name="conjnli"} 90.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="conjnli"} 200.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="conjnli"} 200.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="conjnli"} 50.5
# HELP http_requests_total Total number of requests by method, status and handler.
# TYPE http_requests_total counter
http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 50.0
http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} 150.0
http_requests_total{handler="/v1/chat/completions",method="POST",status="4xx"} 7.0
http_requests_total{handler="/v1/chat/completions",method="POST",status="5xx"} 3.0
http_requests_total{handler="/health",method="GET",status="5xx"} 1000.0
# TYPE http_requests_created gauge
http_requests_created{handler="/v1/completions",method="POST",status="2xx"} 1.7e+09
"""
TRANSFORMERS = """\
# HELP distillery_server_requests_total Requests to the student.
# TYPE distillery_server_requests_total counter
distillery_server_requests_total{path="/v1/chat/completions",status="200"} 40.0
distillery_server_requests_total{path="/v1/chat/completions",status="503"} 2.0
distillery_server_requests_total{path="/health",status="200"} 400.0
# HELP distillery_server_request_seconds Duration of answered requests; of streams, until the first token may be sent.
# TYPE distillery_server_request_seconds histogram
distillery_server_request_seconds_bucket{le="+Inf",path="/v1/chat/completions"} 40.0
distillery_server_request_seconds_count{path="/v1/chat/completions"} 40.0
distillery_server_request_seconds_sum{path="/v1/chat/completions"} 8.0
distillery_server_request_seconds_count{path="/health"} 400.0
distillery_server_request_seconds_sum{path="/health"} 0.4
"""
IDLE = "# HELP distillery_server_requests_total Requests to the student.\n"


@pytest.mark.parametrize(
    ("text", "counters"),
    [
        (VLLM, RequestCounters(requests=210, errors=3, timed=200, seconds=50.5)),
        (TRANSFORMERS, RequestCounters(requests=42, errors=2, timed=40, seconds=8.0)),
        (IDLE, RequestCounters()),
        ("# HELP python_info Python\n", None),
        ("<html>busy</html>", None),
        ("", None),
        (IDLE + 'distillery_server_requests_total{path="/v1/models",status="200"} NaN\n', RequestCounters()),
    ],
    ids=["vLLM", "Transformers", "no request yet", "another program", "a page", "nothing", "no number"],
)
def test_answers_under_v1_are_counted(text: str, counters: RequestCounters | None) -> None:
    assert parse_server_counters(text) == counters


def test_what_is_no_prometheus_text_is_an_error() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser has no error of its own
        parse_server_counters(IDLE + 'distillery_server_requests_total{path="\n')


def deployment(*addresses: str) -> ObservedDeployment:
    return ObservedDeployment(Ownership.OURS, ready_pods=tuple(ReadyPod("a", "b", ip) for ip in addresses))


OBSERVED = Observation(deployment=deployment("10.0.0.1", "10.0.0.2"), candidate=deployment("10.0.0.3"))
KEY = ("team-a", "conjnli")


async def test_the_pods_of_both_servers_are_read_once_in_an_interval_and_added_up() -> None:
    now, addresses, woken = [0.0], [], []

    async def read(address: str) -> RequestCounters:
        addresses.append(address)
        return RequestCounters(requests=int(address[-1]))

    readings = CanaryReadings(read, 30.0, woken.append, lambda: now[0])
    assert (readings.latest(KEY), readings.ask(KEY, OBSERVED)) == (None, 30.0)
    await asyncio.sleep(0.01)
    assert (readings.latest(KEY), woken) == (
        CanaryCounters(RequestCounters(requests=3), RequestCounters(requests=3)),
        [KEY],
    )
    now[0] = 10.0
    assert (readings.ask(KEY, OBSERVED), len(addresses)) == (20.0, 3)
    now[0] = 30.0
    readings.ask(KEY, OBSERVED)
    await asyncio.sleep(0.01)
    assert (sorted(addresses[3:]), woken) == (["10.0.0.1", "10.0.0.2", "10.0.0.3"], [KEY])  # nothing has changed
    readings.forget(KEY)
    assert readings.latest(KEY) is None


async def test_one_pod_that_does_not_answer_leaves_nothing_to_judge_by() -> None:
    async def read(address: str) -> RequestCounters | None:
        return None if address == "10.0.0.2" else RequestCounters(requests=1)

    readings = CanaryReadings(read, 30.0, lambda key: None)
    readings.ask(KEY, OBSERVED)
    await asyncio.sleep(0.01)
    assert readings.latest(KEY) is None


async def test_what_a_pod_had_counted_before_it_was_restarted_or_replaced_counts_on() -> None:
    now = [0.0]
    answers = {
        "10.0.0.1": [(100, 0), (110, 0), (115, 0)],
        "10.0.0.2": [(50, 1), (60, 1)],
        "10.0.0.3": [(20, 0), (15, 9), (40, 9)],  # its container is restarted
        "10.0.0.4": [(7, 0)],
    }

    async def read(address: str) -> RequestCounters:
        requests, errors = answers[address].pop(0)
        return RequestCounters(requests=requests, errors=errors)

    readings = CanaryReadings(read, 30.0, lambda key: None, lambda: now[0])
    replaced = Observation(deployment=deployment("10.0.0.1", "10.0.0.4"), candidate=deployment("10.0.0.3"))
    totals = []
    for observed in (OBSERVED, OBSERVED, replaced):
        readings.ask(KEY, observed)
        await asyncio.sleep(0.01)
        found = readings.latest(KEY)
        assert found is not None
        totals.append([(each.requests, each.errors) for each in (found.stable, found.candidate)])
        now[0] += 30.0
    assert totals == [[(150, 1), (20, 0)], [(170, 1), (35, 9)], [(182, 1), (60, 9)]]
