"""The deduplication of the generate stage over a file of texts."""

import json
import sys
import time
from pathlib import Path

import numpy

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Row
from distillery_trainer.filters.deduplication import Deduplication

CONFIG = RunConfig.model_validate(
    {
        "stage": "generate",
        "name": "benchmark",
        "folder": "generate-benchmark",
        "task": "NLI",
        "labels": ["yes", "no"],
        "data": {"train": {"uri": "rows.jsonl"}, "validation": {"uri": "rows.jsonl"}},
        "generation": {
            "teachers": [{"name": "none", "endpoint": "http://127.0.0.1:9/v1", "model": "none"}],
            "filters": {"duplicates": "Near", "leakage": "Near", "nearThreshold": 0.8},
        },
        "student": {"model": {"uri": "none"}},
        "training": {},
    }
)

started = time.perf_counter()
deduplication = Deduplication(CONFIG)
rows = 0
with Path(sys.argv[1]).open() as texts:
    for text in texts:
        deduplication.add(Row("train", rows + 1, "x", [{"role": "user", "content": text}]))
        rows += 1
deduplication.resolve(numpy.zeros(rows, dtype=numpy.uint8))
seconds = time.perf_counter() - started
json.dump({"seconds": seconds, "found": [row for row in range(rows) if deduplication.rejection(row)]}, sys.stdout)
