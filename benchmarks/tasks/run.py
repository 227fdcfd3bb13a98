"""Every task on public rows, from rows to scores, with a test server that answers from gold.

    python benchmarks/tasks/run.py --data FOLDER [--only NAME ...] [--out FOLDER] [--table]

FOLDER holds the datasets below, each with train.jsonl, validation.jsonl and gold.jsonl. Train and validation rows are
drawn from train.jsonl, test rows from validation.jsonl. Run again, it resumes; `--table` only prints the existing
results, as Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from chat_faults import Fault, cut_off, malformed_json, rate_limited, server_error
from chat_protocol import Answer, Call, Message, text_of
from chat_server import TeacherServer
from standin_teacher import chance
from student import student_folder
from teacher_server import prompt_key, read_lines, squeezed

NO_CALL = "None of the tools can help with that."
SLOTS = (
    "Which values for a booking does the user's last message state? Copy them as the user says them; write dontcare"
    " where any will do. Reply with one JSON object, or {} if there are none."
)
REASONED = {"chainOfThought": True, "sampling": {"maxTokens": 160}}


@dataclass(frozen=True)
class DataSet:
    """A dataset, and how many of its rows are used."""

    folder: str
    task: str
    train: int = 300
    validation: int = 80
    test: int = 150
    wrong: float = 0.1
    """Share of rows that the teacher answers incorrectly."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    own_system_message: bool = True
    """Whether rows keep their system message."""
    has_labels_file: bool = False
    """Whether labels.json lists the labels with their descriptions."""
    student: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.rpartition("/")[2]


DATA_SETS = (
    DataSet("nli/conjnli", "NLI", train=600, validation=100, test=200, generation=REASONED),
    DataSet(
        "classification/banking77",
        "Classification",
        train=900,
        validation=100,
        test=200,
        generation={"prompts": {"student": "Which of the bank's intents is it? Reply with its name only."}},
        training={"epochs": 12, "epochsWithoutGain": 3, "maxLength": 128},
        has_labels_file=True,
    ),
    DataSet(
        "classification/clinc150",
        "Classification",
        train=890,
        validation=100,
        test=200,
        generation={"prompts": {"student": "Which of the intents is it? Reply with its name only."}},
        training={"epochs": 12, "epochsWithoutGain": 3, "maxLength": 128},
        has_labels_file=True,
    ),
    DataSet("mcqa/commonsenseqa", "MultipleChoice", train=600, validation=100, test=200, generation=REASONED),
    DataSet("mcqa/pubmedqa", "MultipleChoice", train=160, generation=REASONED, training={"maxLength": 640}),
    DataSet("math/gsm8k", "Math", train=600, validation=100, test=200, generation=REASONED),
    DataSet(
        "summarization/scitldr",
        "Summarization",
        train=300,
        test=100,
        wrong=0,
        generation={"chainOfDensity": True, "maxSummaryWords": 60},
    ),
    DataSet(
        "conversation/self_instruct",
        "Conversation",
        train=100,
        validation=35,
        test=40,
        wrong=0,
        generation={"minRows": 25},
    ),
    DataSet(
        "conversation/sgd",
        "Conversation",
        train=80,
        validation=70,
        test=60,
        wrong=0,
        generation={"sampling": {"maxTokens": 128}},
    ),
    DataSet(
        "text/e2e",
        "Text",
        train=370,
        validation=70,
        test=100,
        generation={"sampling": {"maxTokens": 96}},
        training={"maxLength": 256},
    ),
    DataSet("text/ntrex_de", "Text", train=430, validation=70, test=100, generation={"sampling": {"maxTokens": 192}}),
    DataSet(
        "tool_calling/bfcl",
        "ToolCalling",
        train=320,
        validation=48,
        test=100,
        generation={"minRows": 30, "sampling": {"maxTokens": 192}},
        training={"maxLength": 1536},
        student={"toolFormat": "Hermes"},
    ),
    DataSet(
        "extraction/sgd_slots",
        "Extraction",
        train=640,
        validation=100,
        test=200,
        generation={
            "schemaUri": "schema.json",
            "minRows": 30,
            "sampling": {"maxTokens": 80},
            "prompts": {"student": SLOTS},
        },
        own_system_message=False,
    ),
)


# --- rows


def gold_lines(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of gold.jsonl by the key of their row."""
    return {line["prompt_key"]: line for line in read_lines(folder / "gold.jsonl")}


def sampled(path: Path, count: int) -> list[dict[str, Any]]:
    """Random rows of a file, always the same ones."""
    rows = list(read_lines(path))
    return random.Random(0).sample(rows, min(count, len(rows)))


def prepare(data: Path, data_set: DataSet, out: Path) -> dict[str, Any]:
    """Write the splits. Returns the teacher's replies by the user messages so far."""
    folder = data / data_set.folder
    gold = gold_lines(folder)
    learned = sampled(folder / "train.jsonl", data_set.train + data_set.validation)
    splits = {
        "train": learned[: data_set.train],
        "validation": learned[data_set.train :],
        "test": sampled(folder / "validation.jsonl", data_set.test),
    }
    if (folder / "schema.json").exists():
        shutil.copy(folder / "schema.json", out)
    replies: dict[str, Any] = {}
    for split, rows in splits.items():
        with (out / f"{split}.jsonl").open("w") as stream:
            for row in rows:
                line = gold[prompt_key(row["messages"])]
                best = other_references(data_set, line)
                if isinstance(best, dict):
                    best = {**best, "acceptable": line["acceptable"]}
                replies.update(turns(row["messages"], spoken(line["gold"])))
                kept = [each for each in row["messages"] if data_set.own_system_message or each["role"] != "system"]
                written = {**row, "messages": kept, **({"gold": best} if split == "test" else {})}
                stream.write(json.dumps(written) + "\n")
    return replies


def other_references(data_set: DataSet, line: Mapping[str, Any]) -> Any:
    """What answers are compared with. Of several texts of one row, the teacher gives the first: it is compared with the
    others, or it would be its own reference."""
    references = line.get("references") or line["gold"]
    several = data_set.task == "Text" and isinstance(references, list) and len(references) > 1
    return references[1:] if several else references


def spoken(gold: Any) -> str:
    """What the teacher says: the calls as a list, or that there is none to make."""
    if not isinstance(gold, dict):
        return str(gold)
    return json.dumps(gold["tool_calls"], separators=(",", ":")) if gold["tool_calls"] else NO_CALL


def turns(messages: Sequence[Message], last: str) -> Iterator[tuple[str, str]]:
    """The reply of each turn of a row, by the user messages until then."""
    user_texts: list[str] = []
    replies = [text_of(message) for message in messages if message["role"] == "assistant"]
    for number, message in enumerate(message for message in messages if message["role"] == "user"):
        user_texts.append(squeezed(text_of(message)))
        yield "\n".join(user_texts), replies[number] if number < len(replies) else last


# --- the teacher


class GoldTeacher:
    """Answers in the form of each task."""

    def __init__(self, data_set: DataSet, replies: Mapping[str, str]) -> None:
        self._task, self._wrong = data_set.task, data_set.wrong
        self._replies = dict(replies)
        self._longest_first = sorted(self._replies, key=len, reverse=True)
        self._answers = sorted(set(self._replies.values()))

    def __call__(self, messages: Sequence[Message]) -> Answer:
        """The answer to a request."""
        key = self._find(messages)
        if key is None:
            return Answer("I do not know this row.")
        answer = self._answer(key)
        if self._task == "Summarization":
            first, middle = answer.split(" ", 1)[0], " ".join(answer.split()[: max(3, len(answer.split()) // 2)])
            rounds = [{"Missing_Entities": first, "Denser_Summary": text} for text in (middle, middle, answer, answer)]
            return Answer(json.dumps({"rounds": rounds}))
        if self._task == "Extraction":
            return Answer(answer)
        if self._task == "Math":
            return Answer(json.dumps({"reason": f"Step by step, this comes to {answer}.", "answer": answer}))
        return Answer(answer, f"Having weighed the item, I conclude {answer}.")

    def _find(self, messages: Sequence[Message]) -> str | None:
        user_texts = [squeezed(text_of(message)) for message in messages if message["role"] == "user"]
        if (whole := "\n".join(user_texts)) in self._replies:
            return whole
        return next((key for key in self._longest_first if any(key in text for text in user_texts)), None)

    def _answer(self, key: str) -> str:
        right = self._replies[key]
        if chance("wrong", key) >= self._wrong:
            return right
        if self._task == "ToolCalling":
            return _wrong_calls(right)
        others = [other for other in self._answers if other != right]
        return others[int(chance("slip", key) * len(others))]


def _wrong_calls(right: str) -> str:
    """No call where one is right, and arguments of the same kinds that are wrong, as far as there are any."""
    if right == NO_CALL:
        return right
    calls = json.loads(right)
    for call in calls:
        call["arguments"] = {name: _other(value) for name, value in call["arguments"].items()}
    return json.dumps(calls, separators=(",", ":"))


def _other(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value + 1


def faults(call: Call) -> Fault | None:
    """2 % of the rows get invalid JSON (or no text), 2 % a truncated reply, 3 % first a 429, and 1 % first a 500."""
    draw = chance("fault", next(text_of(message) for message in call.messages if message["role"] == "user"))
    if draw < 0.04:
        return malformed_json() if draw < 0.02 else cut_off()
    transient = rate_limited(0) if draw < 0.07 else server_error()
    return transient if draw < 0.08 and call.attempt == 0 else None


# --- running


def manifest(data: Path, data_set: DataSet, endpoint: str) -> dict[str, Any]:
    teacher = {"name": "gold", "endpoint": endpoint, "model": "teacher"}
    listed = list(data_set.labels)
    if data_set.has_labels_file:
        listed = json.loads((data / data_set.folder / "labels.json").read_text())
    labels = {"labels": listed} if listed else {}
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": data_set.name.replace("_", "-")},
        "spec": {
            "task": data_set.task,
            "data": {**{split: {"uri": f"{split}.jsonl"} for split in ("train", "validation", "test")}, **labels},
            "generation": {**data_set.generation, "teachers": [teacher]},
            "student": {"model": {"uri": f"file://{student_folder()}"}, **data_set.student},
            "training": {"maxLength": 512, **data_set.training},
            "serving": {"mode": "None"},
        },
    }


def run(data: Path, data_set: DataSet, out: Path, *arguments: str) -> int:
    """Run one dataset with further arguments of `distillery run`; returns the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    replies = prepare(data, data_set, out)
    with TeacherServer(GoldTeacher(data_set, replies), faults=faults) as teacher:
        path = out / "distillation.yaml"
        path.write_text(yaml.safe_dump(manifest(data, data_set, teacher.url), sort_keys=False))
        program = Path(sys.executable).with_name("distillery")
        return subprocess.run([program, "run", path, "--out", out / "run", *arguments], check=False).returncode


# --- the table

SCORES = ("teacher", "baseTeacherPrompt", "base", "student", "majority", "shallow", "lead", "copied")


def line(data_set: DataSet, out: Path) -> str | None:
    """The line of a dataset in the table; None if it has no result yet."""
    path = out / "run" / "result.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    rows, usage, evaluation = result.get("rows", {}), result.get("usage", {}), result.get("evaluation") or {}
    reasons = ", ".join(f"{count} {reason}" for reason, count in rows.get("rejectedByReason", {}).items()) or "-"
    tokens = f"{usage.get('inputTokens', 0):,} / {usage.get('outputTokens', 0):,}"
    scores = [f"{evaluation[name]['score']:.3f}" if evaluation.get(name) else "-" for name in SCORES]
    gap, verdict = evaluation.get("gapClosed"), evaluation.get("verdict") or {}
    cells = [
        data_set.name,
        data_set.task,
        rows.get("read"),
        rows.get("kept"),
        reasons,
        tokens,
        evaluation.get("metric"),
    ]
    meant = ["-" if gap is None else f"{gap:.2f}", verdict.get("kind", "-")]
    return "| " + " | ".join(map(str, [*cells, *scores, *meant])) + " |"


def table(out: Path) -> str:
    rows = ["Data set", "Task", "Rows in", "Kept", "Rejected", "Input / output tokens"]
    heads = [*rows, "Score", *SCORES, "Gap closed", "Verdict"]
    lines = [f"| {' | '.join(heads)} |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join([*lines, *filter(None, (line(data_set, out / data_set.name) for data_set in DATA_SETS))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--only", nargs="*", default=[data_set.name for data_set in DATA_SETS])
    parser.add_argument("--until", choices=["generate", "train", "evaluate"], default="evaluate")
    parser.add_argument("--table", action="store_true", help="only print the existing results")
    arguments = parser.parse_args()
    for data_set in DATA_SETS if not arguments.table else ():
        if data_set.name in arguments.only:
            print(f"\n# {data_set.name}", flush=True)
            run(arguments.data.resolve(), data_set, arguments.out.resolve() / data_set.name, "--until", arguments.until)
    print(f"\n{table(arguments.out)}")


if __name__ == "__main__":
    main()
