"""ConjNLI from `kubectl apply` to an answer of the served student, on a real control plane, with its scores.

    python benchmarks/conjnli/run.py FOLDER [--train 400] [--validation 100] [--test 200] [--wrong 0.3]

FOLDER holds `train.jsonl`, `validation.jsonl` and `gold.jsonl` (see docs/results.md). The teacher is a server that
answers from gold, and a given share of the rows incorrectly, always the same ones. The cluster is that of the cluster
tests: etcd, API server, controllers and scheduler are real, the operator runs under the chart's service
account, and a process node runs the stages' own commands.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

import requests

from cluster import Cluster
from cluster_binaries import ensure_binaries
from control_plane import ControlPlane
from operator_process import OperatorProcess, grant_rights, install_crd
from process_node.image import Image, python_image
from process_node.node import ProcessNode
from student import student_folder
from teacher_server import gold_from_folder, gold_teacher, prompt_key, read_lines

NAME = "conjnli"
NAMESPACE = "conjnli"
IMAGE = "distillery-trainer:conjnli"
Row = dict[str, Any]


def main() -> None:
    arguments = parse_arguments()
    splits = read_splits(arguments)
    teacher = gold_teacher(
        gold_from_folder(arguments.folder), wrong_rate=arguments.wrong, models=("gold",), latency=0.05
    )
    with teacher, running_cluster() as (cluster, folder):
        # Server-side apply: client-side apply would copy the rows to an annotation, which is too small for them.
        cluster.apply(row_config_map(splits), NAMESPACE, "--server-side")
        cluster.apply(manifest(teacher.url, arguments.epochs), NAMESPACE)
        kubeconfig = grant_rights(cluster, NAMESPACE, [NAMESPACE])
        started = time.monotonic()
        with OperatorProcess(
            kubeconfig,
            NAMESPACE,
            folder / "operator.log",
            DISTILLERY_TRAINER_IMAGE=IMAGE,
            DISTILLERY_PROGRESS_INTERVAL="10s",
        ):
            follow(cluster)
            seconds = time.monotonic() - started
            print(f"\nReady after {seconds:.0f} s\n")
            print(cluster.kubectl("get", "distill", "-n", NAMESPACE, "-o", "wide"))
            report(cluster, splits["test"][0])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--wrong", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args()


def read_splits(arguments: argparse.Namespace) -> dict[str, list[Row]]:
    """The training rows, and the validation rows in two parts, the second one with gold as the test rows."""
    gold = {line["prompt_key"]: line["gold"] for line in read_lines(arguments.folder / "gold.jsonl")}
    train = list(read_lines(arguments.folder / "train.jsonl"))[: arguments.train]
    held_out = list(read_lines(arguments.folder / "validation.jsonl"))
    validation, test = (
        held_out[: arguments.validation],
        held_out[arguments.validation : arguments.validation + arguments.test],
    )
    return {
        "train": train,
        "validation": validation,
        "test": [{**row, "gold": gold[prompt_key(row["messages"])]} for row in test],
    }


def row_config_map(splits: dict[str, list[Row]]) -> dict[str, Any]:
    lines = {f"{split}.jsonl": "\n".join(map(json.dumps, rows)) + "\n" for split, rows in splits.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rows", "namespace": NAMESPACE},
        "data": lines,
    }


def manifest(endpoint: str, epochs: int) -> dict[str, Any]:
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "task": "NLI",
            "data": {split: {"uri": f"configmap://rows/{split}.jsonl"} for split in ("train", "validation", "test")},
            "generation": {
                "chainOfThought": True,
                "sampling": {"maxTokens": 160},
                "teachers": [{"name": "gold", "endpoint": endpoint, "model": "gold"}],
            },
            "student": {"model": {"uri": f"file://{student_folder()}"}},
            "training": {
                "lora": {"rank": 16, "alpha": 32},
                "learningRate": 0.001,
                "epochs": epochs,
                "batchSize": 16,
                "maxLength": 512,
            },
            "serving": {"runtime": "Transformers"},
            "storage": {"size": "5Gi"},
        },
    }


@contextmanager
def running_cluster() -> Iterator[tuple[Cluster, Path]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ControlPlane(ensure_binaries(print), folder) as cluster, ProcessNode(cluster, folder / "node") as node:
            node.images[IMAGE] = trainer_image()
            install_crd(cluster)
            cluster.kubectl("create", "namespace", NAMESPACE)
            yield cluster, folder


def trainer_image() -> Image:
    """The trainer with all processors, and with the student in the image."""
    image = python_image({"OMP_NUM_THREADS": str(os.cpu_count()), "HF_HUB_OFFLINE": "1"})
    return Image(folders=(*image.folders, student_folder()), environment=image.environment)


def follow(cluster: Cluster) -> None:
    """Print the conditions whenever they change, until the student is served. Raises SystemExit if the run stalls."""
    previous_line = ""
    while True:
        status = cluster.get("distillation", NAME, NAMESPACE).get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        ready = conditions.get("Ready", {})
        line = f"{ready.get('status', '-'):8} {ready.get('reason', '-'):16} {status.get('progress', '')}"
        if line != previous_line:
            print(time.strftime("%H:%M:%S"), line, flush=True)
            previous_line = line
        if ready.get("status") == "True":
            return
        if conditions.get("Stalled", {}).get("status") == "True":
            raise SystemExit(conditions["Stalled"]["message"])
        time.sleep(1)


def report(cluster: Cluster, row: Row) -> None:
    status = cluster.get("distillation", NAME, NAMESPACE)["status"]
    for stage in status["stages"]:
        print(json.dumps({key: stage.get(key) for key in ("name", "rows", "usage", "training")}))
    print(json.dumps(status["evaluation"], indent=2))
    url = cluster.service_url(NAMESPACE, NAME)
    request = {"model": NAME, "messages": row["messages"], "max_tokens": 8, "temperature": 0}
    answer = requests.post(f"{url}/v1/chat/completions", json=request, timeout=60).json()
    print(f"\nThe student's answer through its Service to a test row (gold: {row['gold']}):")
    print(answer["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()
