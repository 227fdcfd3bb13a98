"""How fast a served student is for several clients at a time, measured for a few seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median, quantiles

from distillery_api.verification import Measurement
from distillery_trainer.runtime.errors import StageError
from distillery_trainer.verification.evaluated_rows import EvaluatedRow
from distillery_trainer.verification.served_student import ServedReply, ServedStudent

CONCURRENT_REQUESTS = 4
LOAD_SECONDS = 8.0
"""After this time, no further request is sent."""
MAX_REPLY_SECONDS = 10.0
MAX_REQUESTS = 400


def measure(student: ServedStudent, rows: Sequence[EvaluatedRow], alone: Sequence[ServedReply]) -> Measurement | None:
    """The speed with one client, from its replies `alone`, and with several; None where the server counts no tokens,
    is too slow for several, or fails one of them: a measurement never fails a student."""
    answered = [reply for reply in alone if reply.output_tokens]
    if not answered or median(reply.seconds for reply in answered) * CONCURRENT_REQUESTS > MAX_REPLY_SECONDS:
        return None
    started = time.perf_counter()
    try:
        replies = _under_load(replace(student, patience_seconds=0.0, request_seconds=MAX_REPLY_SECONDS), rows)
    except StageError:
        return None
    seconds = time.perf_counter() - started
    if len(replies) < CONCURRENT_REQUESTS or any(reply.text is None for reply in replies):
        return None
    latencies = [reply.seconds for reply in replies]
    return Measurement(
        tokens_per_second=round(_tokens(answered) / sum(reply.seconds for reply in answered), 1),
        concurrent_requests=CONCURRENT_REQUESTS,
        concurrent_tokens_per_second=round(_tokens(replies) / seconds, 1),
        requests_per_second=round(len(replies) / seconds, 2),
        latency_p50_seconds=round(median(latencies), 4),
        latency_p95_seconds=round(quantiles(latencies, n=20, method="inclusive")[-1], 4),
        requests=len(replies),
    )


def _under_load(student: ServedStudent, rows: Sequence[EvaluatedRow]) -> list[ServedReply]:
    """The replies to requests of several clients, each of which sends the next one after a reply."""
    deadline = time.monotonic() + LOAD_SECONDS
    to_send = itertools.islice(itertools.cycle(rows), MAX_REQUESTS)

    def client(_: int) -> list[ServedReply]:
        replies = []
        while time.monotonic() < deadline and (row := next(to_send, None)):
            replies.append(student.ask(row.messages))
        return replies

    with ThreadPoolExecutor(CONCURRENT_REQUESTS) as clients:
        return list(itertools.chain.from_iterable(clients.map(client, range(CONCURRENT_REQUESTS))))


def _tokens(replies: Sequence[ServedReply]) -> int:
    return sum(reply.output_tokens or 0 for reply in replies)
