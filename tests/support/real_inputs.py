"""What the real stages need in a cluster: rows and a tiny model on a claim, and a spec with them and the stand-in
teacher."""

from __future__ import annotations

from typing import Any

from cluster import Cluster
from conjunctions import make_pairs, write_rows
from distillations import Manifest
from process_node.node import ProcessNode

TEACHER_KEY = "s3cret"
"""In the Secret `teacher`."""


def write_inputs(cluster: Cluster, node: ProcessNode, namespace: str, claim: str, rows: dict[str, int]) -> None:
    """A claim with so many rows of each split and a model in it, and the teacher's Secret."""
    from tiny_model import write_tiny_model

    manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.apply(manifest, namespace)
    folder = node.volume(namespace, claim)
    (folder / "rows").mkdir(parents=True)
    write_rows(folder / "rows", {split: make_pairs(split, count, 7) for split, count in rows.items()})
    write_tiny_model(folder / "tiny")
    key = f"--from-literal=api-key={TEACHER_KEY}"
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "teacher", key)


def real_spec(teacher: str, folder: str = "", **changes: Any) -> Manifest:
    """What the quickstart's manifest says, on rows and model of `folder`; `changes` replace whole fields."""
    big = {"name": "standin", "endpoint": teacher, "model": "standin-teacher", "apiKey": {"secretName": "teacher"}}
    return {
        "task": "NLI",
        "data": {split: {"uri": f"{folder}rows/{split}.jsonl"} for split in ("train", "validation", "test")},
        "generation": {"teachers": [big], "chainOfThought": True, "minRows": 1},
        "student": {"model": {"uri": f"{folder}tiny"}},
        "training": {"preset": "Azure", "maxLength": 512, "batchSize": 8, "lora": {"rank": 4, "alpha": 8}},
        "serving": {"runtime": "Transformers"},
        **changes,
    }
