"""Asks a running stage how far it is, and what it will cost. Best effort: a network policy or a mesh may well forbid
it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from distillery_api.run_config import METRICS_PORT
from distillery_api.stage_result import Progress
from distillery_api.usage import Estimate

logger = logging.getLogger(__name__)

DONE_METRIC = "distillery_stage_done"
TOTAL_METRIC = "distillery_stage_total"

_TIMEOUT = aiohttp.ClientTimeout(total=2.0, sock_connect=1.0)
_LONGEST_ANSWER = 256 * 1024

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StageReport:
    """What a stage tells of itself."""

    progress: Progress | None = None
    """How far it is."""
    estimate: Estimate | None = None
    """What its teacher calls were expected to come to."""


async def read_stage_report(pod_ip: str, port: int = METRICS_PORT) -> StageReport:
    """What the stage at `pod_ip` says, within two seconds."""
    host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
    address = f"http://{host}:{port}"
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        progress, estimate = await asyncio.gather(
            _answer(session, f"{address}/metrics", parse_progress),
            _answer(session, f"{address}/estimate", Estimate.model_validate_json),
        )
    return StageReport(progress, estimate)


async def _answer(session: aiohttp.ClientSession, url: str, parse: Callable[[str], Answer | None]) -> Answer | None:
    try:
        async with session.get(url, allow_redirects=False) as response:
            response.raise_for_status()
            return parse(await _text(response))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
        logger.debug("nothing from %s: %s", url, problem or type(problem).__name__)
        return None


def parse_progress(text: str) -> Progress | None:
    """The progress in Prometheus text; None where the gauges are missing. Raises ValueError for anything else."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    done = next((sample for sample in samples if sample.name == DONE_METRIC), None)
    total = next((sample for sample in samples if sample.name == TOTAL_METRIC), None)
    if done is None or not all(isfinite(sample.value) for sample in (done, total) if sample):
        return None
    unit = done.labels.get("unit") or "rows"
    return Progress(done=int(done.value), total=int(total.value) if total else 0, unit=unit[:32])


async def _text(response: aiohttp.ClientResponse) -> str:
    """The body, or its beginning: a Pod is not trusted to end what it says."""
    text = bytearray()
    async for chunk in response.content.iter_any():
        text += chunk
        if len(text) > _LONGEST_ANSWER:
            break
    return text.decode(errors="replace")
