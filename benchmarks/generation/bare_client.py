"""The peers without a library: the loop that one writes by hand over an HTTP client. No checks, no journal, no files.

`python bare_client.py --client aiohttp|openai --url URL --data FILE --concurrency 100` prints its seconds, and the rows
that got an answer, as JSON.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai

SYSTEM = {
    "role": "system",
    "content": "Decide how the hypothesis relates to the premise. Reply with exactly one of these labels and nothing"
    " else: entailment, neutral, contradiction.",
}
PARAMETERS: dict[str, Any] = {"model": "teacher", "temperature": 0.2, "top_p": 0.1, "max_tokens": 128}
TRIES = 6

Ask = Callable[[list[Any]], Awaitable[str | None]]


def over_openai(client: openai.AsyncOpenAI) -> Ask:
    """Ask with the openai client over aiohttp, with the retries of its own."""

    async def ask(messages: list[Any]) -> str | None:
        try:
            reply = await client.chat.completions.create(messages=messages, **PARAMETERS)
        except openai.OpenAIError:
            return None
        return reply.choices[0].message.content

    return ask


def over_aiohttp(session: aiohttp.ClientSession, url: str) -> Ask:
    """Ask with aiohttp, and a few times more where the status is not 200."""

    async def ask(messages: list[Any]) -> str | None:
        for _ in range(TRIES):
            async with session.post(f"{url}/chat/completions", json={**PARAMETERS, "messages": messages}) as response:
                if response.status == 200:
                    reply = await response.json()
                    content: str = reply["choices"][0]["message"]["content"]
                    return content
                pause = float(response.headers.get("Retry-After", 0.5))
            await asyncio.sleep(pause)
        return None

    return ask


async def ask_all(ask: Ask, rows: list[list[Any]], concurrency: int) -> dict[str, float]:
    """Seconds until every row has its reply or none, and the rows that have one."""
    free = asyncio.Semaphore(concurrency)

    async def ask_one(messages: list[Any]) -> str | None:
        async with free:
            return await ask([SYSTEM, *messages])

    started = time.perf_counter()
    answers = await asyncio.gather(*(ask_one(messages) for messages in rows))
    return {"seconds": time.perf_counter() - started, "rows": sum(answer == "entailment" for answer in answers)}


async def run(chosen: argparse.Namespace) -> dict[str, float]:
    """The figures of the chosen client."""
    rows = [json.loads(line)["messages"] for line in chosen.data.read_text().splitlines()]
    if chosen.client == "aiohttp":
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=chosen.concurrency)) as session:
            return await ask_all(over_aiohttp(session, chosen.url), rows, chosen.concurrency)
    async with openai.AsyncOpenAI(
        base_url=chosen.url, api_key="none", max_retries=TRIES, http_client=openai.DefaultAioHttpClient()
    ) as client:
        return await ask_all(over_openai(client), rows, chosen.concurrency)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=["aiohttp", "openai"], required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
