"""kubectl and the API server understand the commands of the pages, on a Distillation that serves.

What a command would change is a dry run. Commands that wait, or need a file of the reader's, are left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from cluster import Cluster, CommandFailed
from distillations import Distilled
from operator_process import OperatorProcess
from process_node.node import ProcessNode

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / name for name in ("lifecycle.md", "serving.md", "operations.md", "status.md")]
WRITES = {"annotate", "create", "delete", "patch"}
READS = {"get", "describe"}
OF_THE_OPERATOR = "distillery"  # its namespace, which is another one here
END = {"|", ">", "&"}


def commands() -> Iterator[list[str]]:
    """The arguments of each kubectl in the pages, without what follows a pipe or is written to a file."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^\s*\$ kubectl (.*)$", text, re.MULTILINE):
            words = shlex.split(line, comments=True)
            yield words[: next((number for number, word in enumerate(words) if word in END), len(words))]


def is_tried(words: list[str]) -> bool:
    return words[0] in WRITES | READS and OF_THE_OPERATOR not in words and "-f" not in words


def filled_in(words: list[str], values: dict[str, str]) -> list[str]:
    """The arguments with a reader's own names."""
    places = re.compile("|".join(values))
    return [places.sub(lambda found: values[found[0]], word) for word in words]


def test_kubectl_understands_the_commands_of_the_pages(
    control_plane: Cluster, namespace: str, scripted_node: ProcessNode, start_operator: Callable[..., OperatorProcess]
) -> None:
    start_operator()
    distilled = Distilled(control_plane, namespace)
    distilled.apply()
    claim = distilled.wait_ready()["status"]["workspaceClaim"]
    volume = control_plane.get("pvc", claim, namespace)["spec"]["volumeName"]
    run = distilled.status["history"][0]["train"]
    values = {
        "NAME": "small",
        "conjnli": "small",
        "sentiment": "small",
        "CLAIM": claim,
        "VOLUME": volume,
        "nxevyml5": run,
    }

    tried, refused = [filled_in(words, values) for words in commands() if is_tried(words)], []
    for words in tried:
        dry_run = ("--dry-run=server",) if words[0] in WRITES else ()
        try:
            distilled.kubectl(*words, *dry_run)
        except CommandFailed as problem:
            refused.append((" ".join(words), str(problem)))
    assert refused == []
    assert {words[0] for words in tried} == WRITES | {"get"}
    assert len(tried) >= 12
