"""Who runs: this project's whole stage, and its peers, each as a program of its own."""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from benchmarks.generation.measuring import HERE, Figures, measured

PEERS_FOLDER = HERE.parents[1] / ".venv" / "peers"
PACKAGES = {
    "distilabel": ["distilabel[openai]==1.5.3", "requests"],
    "curator": ["bespokelabs-curator==0.1.31"],
}
"""Peers that need a virtual environment of their own, made when they are asked for."""

Client = Callable[[Path, str, int], Figures]
"""Folder of the rows, address of the teacher, concurrent requests -> what the run took."""


def run_stage(folder: Path, url: str, concurrency: int) -> Figures:
    """The generate stage in a new workspace."""
    shutil.rmtree(folder / "workspace", ignore_errors=True)
    return run_stage_again(folder, url, concurrency)


def run_stage_again(folder: Path, url: str, concurrency: int) -> Figures:
    """The generate stage in the workspace that there is."""
    workspace = folder / "workspace"
    config = {
        "stage": "generate",
        "name": "benchmark",
        "folder": "generate-benchmark",
        "workspace": str(workspace),
        "basePath": str(folder),
        "task": "NLI",
        "labels": ["entailment", "neutral", "contradiction"],
        "data": {split: {"uri": f"{split}.jsonl"} for split in ("train", "validation", "test")},
        "generation": {
            "teachers": [{"name": "loopback", "endpoint": url, "model": "teacher"}],
            "concurrency": concurrency,
        },
        "student": {"model": {"uri": "none"}},
        "training": {},
        "metricsHost": "127.0.0.1",
        "metricsPort": 0,
        "terminationMessagePath": None,
    }
    (folder / "run.json").write_text(json.dumps(config))
    return measured([sys.executable, str(HERE / "stage_client.py"), str(folder / "run.json")])


def bare(client: str) -> Client:
    """The loop that one writes by hand over an HTTP client; without checks, journal, retries and files."""

    def run(folder: Path, url: str, concurrency: int) -> Figures:
        chosen = ["--client", client, *_chosen(folder, url, concurrency)]
        return measured([sys.executable, str(HERE / "bare_client.py"), *chosen])

    return run


def peer(name: str) -> Client:
    """A library of the same kind, in its own virtual environment."""

    def run(folder: Path, url: str, concurrency: int) -> Figures:
        program = HERE / f"{name}_client.py"
        home = {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "TELEMETRY_ENABLED": "false"}
        return measured([str(python_of(name)), str(program), *_chosen(folder, url, concurrency)], home)

    return run


def _chosen(folder: Path, url: str, concurrency: int) -> list[str]:
    return ["--url", url, "--data", str(folder / "all.jsonl"), "--concurrency", str(concurrency)]


def python_of(name: str) -> Path:
    """The interpreter of a peer's virtual environment, which is made where there is none."""
    folder = PEERS_FOLDER / name
    python, finished = folder / "bin" / "python", folder / ".installed"
    if not finished.exists():
        print(f"installing {name} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        finished.touch()
    return python


CLIENTS: dict[str, Client] = {
    "distillery": run_stage,
    "aiohttp": bare("aiohttp"),
    "openai": bare("openai"),
    "distilabel": peer("distilabel"),
    "curator": peer("curator"),
}
TITLES = {"distillery": "distillery, whole stage", "aiohttp": "bare aiohttp loop", "openai": "bare openai loop"}
