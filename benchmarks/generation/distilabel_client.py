"""The peer distilabel: its pipeline of one task, with batches as large as the concurrency, and no cache.

`python distilabel_client.py --url URL --data FILE --concurrency 100`, in an environment that has distilabel, prints its
seconds, and the rows that got an answer, as JSON.
"""

import argparse
import json
import time
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

SYSTEM = (
    "Decide how the hypothesis relates to the premise. Reply with exactly one of these labels and nothing else:"
    " entailment, neutral, contradiction."
)


def pipeline(url: str, rows: list[dict[str, str]], concurrency: int) -> Pipeline:
    """The rows put to the model."""
    with Pipeline(name="benchmark") as made:
        load = LoadDataFromDicts(data=rows, batch_size=concurrency)
        model = OpenAILLM(
            model="teacher",
            base_url=url,
            api_key="none",
            generation_kwargs={"temperature": 0.2, "top_p": 0.1, "max_new_tokens": 128},
        )
        load >> TextGeneration(llm=model, system_prompt=SYSTEM, input_batch_size=concurrency)
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    chosen = parser.parse_args()
    lines = chosen.data.read_text().splitlines()
    rows = [{"instruction": json.loads(line)["messages"][0]["content"]} for line in lines]
    started = time.perf_counter()
    answered = pipeline(chosen.url, rows, chosen.concurrency).run(use_cache=False)["default"]["train"]["generation"]
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "rows": sum(answer == "entailment" for answer in answered)}))


if __name__ == "__main__":
    main()
