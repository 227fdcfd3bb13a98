"""The peer: the loop that one writes by hand over the same client. No checks, no journal, no retries, no files.

`python bare_client.py --url URL --data FILE --concurrency 100` prints its seconds as JSON.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import openai

SYSTEM = {
    "role": "system",
    "content": "Decide how the hypothesis relates to the premise. Reply with exactly one of these labels and nothing"
    " else: entailment, neutral, contradiction.",
}


async def ask_all(url: str, rows: list[list[dict[str, str]]], concurrency: int) -> float:
    """Seconds until every row has its reply."""
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=openai.DefaultAioHttpClient())
    free = asyncio.Semaphore(concurrency)

    async def ask(messages: list[dict[str, str]]) -> str:
        async with free:
            reply = await client.chat.completions.create(
                model="teacher", messages=[SYSTEM, *messages], temperature=0.2, top_p=0.1, max_tokens=128
            )
            return reply.choices[0].message.content or ""

    started = time.perf_counter()
    answers = await asyncio.gather(*(ask(messages) for messages in rows))
    seconds = time.perf_counter() - started
    assert answers == ["entailment"] * len(rows)
    await client.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    chosen = parser.parse_args()
    rows = [json.loads(line)["messages"] for line in chosen.data.read_text().splitlines()]
    print(json.dumps({"seconds": asyncio.run(ask_all(chosen.url, rows, chosen.concurrency))}))


if __name__ == "__main__":
    main()
