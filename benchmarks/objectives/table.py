"""Gap closed by objective, with intervals, as Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RESAMPLES = 2000


def scores(path: Path) -> np.ndarray | None:
    return np.array(json.loads(path.read_text())["scores"]) if path.exists() else None


def table(out: Path, names: Sequence[str], rows: Sequence[int], objectives: Sequence[str]) -> str:
    heads = ["Data set", "Rows", "Teacher", "Base", "Majority", "Objective", "Students", "Score", "Gap closed (95 %)"]
    heads += ["Better than Labels"]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for name in names:
        for number in rows:
            lines += _lines(out / f"{name}-{number}", name, number, objectives)
    return "\n".join(lines)


def _lines(folder: Path, name: str, number: int, objectives: Sequence[str]) -> list[str]:
    base, teacher = scores(folder.parent / f"{name}-base.json"), scores(folder / "teacher.json")
    if base is None or teacher is None:
        return []
    found = {each: _student(folder, each) for each in objectives}
    labels, made = found.get("Labels"), []
    for objective, students in found.items():
        if students is None:
            continue
        mean = np.mean(students, axis=0)
        cells = [name, f"{number:,}", f"{teacher.mean():.3f}", f"{base.mean():.3f}", f"{_majority(folder):.3f}"]
        cells += [objective, str(len(students)), f"{mean.mean():.3f}", _gap(mean, base, teacher)]
        is_other = labels is not None and objective != "Labels"
        cells += [_difference(mean, np.mean(labels, axis=0)) if is_other else "-"]
        made.append(f"| {' | '.join(cells)} |")
    return made


def _student(folder: Path, objective: str) -> list[np.ndarray] | None:
    """The scores of the students of one objective, one for each seed."""
    found = [scores(path) for path in sorted((folder / "students").glob(f"{objective}-*.json"))]
    return [each for each in found if each is not None] or None


def _majority(folder: Path) -> float:
    """The share of held-out rows whose gold is the most frequent answer of the train rows."""
    rows = [json.loads(line) for line in (folder / "generate-rows" / "train.jsonl").read_text().splitlines()]
    answer = Counter(row["completion"][0]["content"] for row in rows).most_common(1)[0][0]
    held_out = [json.loads(line) for line in (folder / "generate-rows" / "test.jsonl").read_text().splitlines()]
    return sum(row["gold"] == answer for row in held_out) / len(held_out)


def _resampled(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(length, size=(RESAMPLES, length))


def _gap(student: np.ndarray, base: np.ndarray, teacher: np.ndarray) -> str:
    """(student - base) / (teacher - base), with the percentiles of resampled rows."""
    whole = teacher.mean() - base.mean()
    if whole <= 0:
        return "-"
    picked = _resampled(len(base))
    below = base[picked].mean(axis=1)
    gaps = (student[picked].mean(axis=1) - below) / np.maximum(teacher[picked].mean(axis=1) - below, 1e-9)
    low, high = np.percentile(gaps, [2.5, 97.5])
    return f"{(student.mean() - base.mean()) / whole:.2f} ({low:.2f} to {high:.2f})"


def _difference(student: np.ndarray, labels: np.ndarray) -> str:
    """The difference of scores on the same rows."""
    difference = student - labels
    low, high = np.percentile(difference[_resampled(len(difference))].mean(axis=1), [2.5, 97.5])
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"
