"""Asks a running stage for its progress and estimate, and a serving Pod for its counters, over HTTP. Best effort: a
network policy or a service mesh may forbid it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

import aiohttp

from distillery_api.run_config import METRICS_PORT
from distillery_api.status import RequestCounters
from distillery_api.usage import Estimate
from distillery_operator.core.observation import StageReport
from distillery_operator.core.server_counters import parse_server_counters
from distillery_operator.core.stage_metrics import parse_stage_metrics
from distillery_operator.planning.names import SERVING_PORT

logger = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=2.0, sock_connect=1.0)
_MAX_RESPONSE_BYTES = 1024 * 1024

Parsed = TypeVar("Parsed")


async def read_stage_report(pod_ip: str, port: int = METRICS_PORT) -> StageReport:
    """What the stage at `pod_ip` answers within two seconds."""
    address = _address(pod_ip, port)
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        metrics, estimate = await asyncio.gather(
            _answer(session, f"{address}/metrics", parse_stage_metrics),
            _answer(session, f"{address}/estimate", Estimate.model_validate_json),
        )
    return StageReport(metrics.progress if metrics else None, estimate)


async def read_server_counters(pod_ip: str, port: int = SERVING_PORT) -> RequestCounters | None:
    """What the serving Pod at `pod_ip` has counted, if it answers within two seconds."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        return await _answer(session, f"{_address(pod_ip, port)}/metrics", parse_server_counters)


def _address(pod_ip: str, port: int) -> str:
    host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
    return f"http://{host}:{port}"


async def _answer(session: aiohttp.ClientSession, url: str, parse: Callable[[str], Parsed | None]) -> Parsed | None:
    try:
        async with session.get(url, allow_redirects=False) as response:
            response.raise_for_status()
            return parse(await _text(response))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        logger.debug("no answer from %s: %s", url, error or type(error).__name__)
        return None


async def _text(response: aiohttp.ClientResponse) -> str:
    """The body, or its beginning: a Pod is not trusted to stop sending."""
    text = bytearray()
    async for chunk in response.content.iter_any():
        text += chunk
        if len(text) > _MAX_RESPONSE_BYTES:
            break
    return text.decode(errors="replace")
