"""The peer curator: its online requests, with the limits a minute out of the way, and an empty cache.

`python curator_client.py --url URL --data FILE --concurrency 100`, in an environment that has bespokelabs-curator,
prints its seconds, and the rows that got an answer, as JSON.

It counts tokens with a vocabulary that tiktoken downloads. Here bytes are its tokens, so that it runs without.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import tiktoken

BYTES = tiktoken.Encoding(
    "bytes", pat_str=r"\S+|\s+", mergeable_ranks={bytes([value]): value for value in range(256)}, special_tokens={}
)
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda _: BYTES  # before curator asks for one

from bespokelabs import curator

SYSTEM = (
    "Decide how the hypothesis relates to the premise. Reply with exactly one of these labels and nothing else:"
    " entailment, neutral, contradiction."
)
NO_LIMIT = 1_000_000_000


class Labels(curator.LLM):
    """Puts each row to the model as it is."""

    def prompt(self, input: dict[str, str]) -> str:  # noqa: A002 - the name in the base class
        return input["instruction"]

    def parse(self, input: dict[str, str], response: str) -> dict[str, str]:  # noqa: A002
        return {"generation": response}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    chosen = parser.parse_args()
    lines = chosen.data.read_text().splitlines()
    rows = [{"instruction": json.loads(line)["messages"][0]["content"]} for line in lines]
    labels = Labels(
        model_name="teacher",
        backend="openai",
        system_prompt=SYSTEM,
        generation_params={"temperature": 0.2, "top_p": 0.1, "max_tokens": 128},
        backend_params={
            "base_url": chosen.url,
            "api_key": "none",
            "max_concurrent_requests": chosen.concurrency,
            "max_requests_per_minute": NO_LIMIT,
            "max_tokens_per_minute": NO_LIMIT,
            "require_all_responses": False,
        },
    )
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        answered = labels(rows, working_dir=cache).dataset["generation"]
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "rows": sum(answer == "entailment" for answer in answered)}))


if __name__ == "__main__":
    main()
