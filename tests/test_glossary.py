"""docs/glossary.md binds: what it says is not said any more stands nowhere.

A plain entry of its last column occurs in no text of the repository. An entry in `code` is no part of a name in Python,
by whole words: `give_back` is found in `give_back_all` and in `GiveBack`, not in `give_background`.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
GLOSSARY = "docs/glossary.md"
NOT_OURS_TO_WORD = {
    GLOSSARY,
    "CHANGELOG.md",  # names what was renamed
    "tests/test_glossary.py",
    "LICENSE",
    "constraints.txt",
    "constraints-hashed.txt",
    "tests/data/output/reply_keys.yaml",
}
WRITTEN_BY_MODELS = "tests/data/replies/"
EXCEPTIONS = {
    # The keys of rows that an earlier version stored.
    ("trainer_image/distillery_trainer/data/rows.py", "carved"),
    ("tests/trainer/test_evaluate_stage.py", "carved"),
    # spaCy's name of a kind of entity.
    ("trainer_image/distillery_trainer/text/entities.py", "money"),
    # Tags that models write.
    ("trainer_image/distillery_trainer/parsing/reasoning_marks.py", "thoughts"),
    # MLflow's alias of the version that is in use.
    ("docs/training.md", "champion"),
    ("tests/trainer/test_tracking.py", "champion"),
    ("trainer_image/distillery_trainer/tracking/mlflow_registry.py", "champion"),
    # A column of a user's file.
    ("tests/trainer/test_csv_and_parquet.py", "`question`"),
}
"""The few files that may hold an entry, and why."""

TERMS_WITH_ENTRIES = [("chain", "of", "thought")]
"""Terms of the field that an entry is a part of."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
TABLE_ROW = re.compile(r"^\|(?P<cells>.*)\|$", re.MULTILINE)
BETWEEN_WORDS = r"[\s#\"']+"
"""A phrase may go over the end of a line, in a comment or between the parts of a string as well."""


def entries() -> list[str]:
    """What is not said any more; entries for names keep their backquotes."""
    rows = [match["cells"].split("|") for match in TABLE_ROW.finditer((REPOSITORY / GLOSSARY).read_text())]
    cells = [cells[-1] for cells in rows if not set(cells[-1].strip()) <= {"-"}]
    return [entry.strip() for cell in cells for entry in cell.split(",") if entry.strip() != "not called"]


@cache
def texts() -> dict[str, str]:
    """Every text of the repository by its path."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found = {}
    for path in listed.stdout.splitlines():
        if path in NOT_OURS_TO_WORD or path.startswith(WRITTEN_BY_MODELS) or path.endswith(("go.mod", "go.sum")):
            continue
        try:
            found[path] = (REPOSITORY / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
    return found


@cache
def names() -> dict[tuple[str, ...], set[tuple[str, int]]]:
    """The names in Python as their words, with the files and lines that they stand in."""
    found: dict[tuple[str, ...], set[tuple[str, int]]] = {}
    for path, text in texts().items():
        if path.endswith(".py"):
            found.setdefault(words(Path(path).stem), set()).add((path, 1))
            for name, line in names_in(ast.parse(text)):
                found.setdefault(words(name), set()).add((path, line))
    return found


def names_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that is defined or used."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, line
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, line
            case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name, line
            case ast.alias(name=name, asname=alias):
                yield from ((part, line) for part in [*name.split("."), *([alias] if alias else [])])
            case _:
                pass


def words(name: str) -> tuple[str, ...]:
    """The words of a name in any case."""
    return tuple(word.lower() for word in WORD.findall(name))


def holds(name: tuple[str, ...], entry: tuple[str, ...]) -> bool:
    """Whether the words of an entry stand in a name, one after the other, and in no longer term of ours."""
    longer = [(start, term) for term in TERMS_WITH_ENTRIES for start in positions(name, term)]
    covered = {start + offset for start, term in longer for offset in range(len(term))}
    return not covered.issuperset(positions(name, entry))


def positions(name: tuple[str, ...], part: tuple[str, ...]) -> list[int]:
    """Where a name holds some words one after the other."""
    return [start for start in range(len(name) - len(part) + 1) if name[start : start + len(part)] == part]


def places_of_name(entry: str) -> Iterator[tuple[str, int]]:
    """Where an entry is part of a name."""
    for name, places in names().items():
        if holds(name, words(entry)):
            yield from places


def places_of_text(entry: str) -> Iterator[tuple[str, int]]:
    """Where an entry stands in a text."""
    pattern = re.compile(rf"\b{BETWEEN_WORDS.join(map(re.escape, entry.split()))}\b", re.IGNORECASE)
    for path, text in texts().items():
        for match in pattern.finditer(text):
            yield path, text.count("\n", 0, match.start()) + 1


def places(entry: str) -> list[tuple[str, int]]:
    """Where an entry stands, exceptions included."""
    return sorted(places_of_name(entry.strip("`")) if entry.startswith("`") else places_of_text(entry))


def test_glossary_has_entries_of_both_kinds():
    assert {"tokens read", "`give_back`"} <= set(entries())


@pytest.mark.parametrize(
    ("name", "found"),
    [("give_back_all", True), ("GiveBack", True), ("GIVE_BACK", True), ("give_background", False), ("back", False)],
)
def test_words_of_a_name_are_compared_whole(name, found):
    assert holds(words(name), ("give", "back")) is found


@pytest.mark.parametrize(("name", "found"), [("chain_of_thought", False), ("chain_of_thought_and_thought", True)])
def test_terms_of_the_field_may_hold_an_entry(name, found):
    assert holds(words(name), ("thought",)) is found


@pytest.mark.parametrize("entry", entries())
def test_what_is_not_said_any_more_stands_nowhere(entry):
    assert [f"{path}:{line}" for path, line in places(entry) if (path, entry) not in EXCEPTIONS] == []


@pytest.mark.parametrize(("path", "entry"), sorted(EXCEPTIONS))
def test_exceptions_are_needed(path, entry):
    assert path in {found for found, _ in places(entry)}
