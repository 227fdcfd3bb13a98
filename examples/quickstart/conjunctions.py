"""The quickstart's data: pairs of sentences with conjunctions, whose true labels are known.

    python conjunctions.py DIR [--train 300] [--validation 80] [--test 200] [--seed 7] [--report]

writes DIR/train.jsonl, DIR/validation.jsonl and DIR/test.jsonl. Only test rows have `gold`: the teacher labels the
others. The three splits share no names or verbs, and the pairs are drawn so that neither words nor lengths reveal the
label: only logic does. `--report` prints the scores of shallow methods (requires scikit-learn).
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from conjunction_grammar import (
    VERBS,
    Clause,
    Event,
    Label,
    Link,
    Sentence,
    both,
    either,
    sentence_text,
    settled_relation,
    single,
)

SYSTEM_PROMPT = "Does the hypothesis follow? Answer with one word: entailment, neutral or contradiction."

_NAME_LIST = """
Mara Tom Ines Paul Rosa Karl Nora Hugo Lena Omar Vera Ivan Dana Felix Ruth Emil Greta Oskar Tilda Bruno Clara Anton
Edith Simon Alma Boris Carla Denis Elsa Franz Heidi Jonas Kira Leon Mona Nils Olga Peter Rita Sven Thea Ulric Wanda
Yuri Zelda Abel Berta Cyril
"""
_NAMES = _NAME_LIST.split()


@dataclass(frozen=True)
class Lexicon:
    """The names and the verbs (base forms) of one split."""

    names: Sequence[str]
    verbs: Sequence[str]


_BASE_FORMS = list(VERBS)
LEXICONS = {
    "train": Lexicon(_NAMES[:24], _BASE_FORMS[:24]),
    "validation": Lexicon(_NAMES[24:32], _BASE_FORMS[24:32]),
    "test": Lexicon(_NAMES[32:], _BASE_FORMS[32:]),
}


@dataclass(frozen=True)
class Shape:
    """What a bag of words captures of a sentence: its link, and how many of its clauses are negated."""

    link: Link
    clauses: int
    denied: int


ONE, NOT_ONE = Shape(Link.NONE, 1, 0), Shape(Link.NONE, 1, 1)
AND, BUT = Shape(Link.AND, 2, 0), Shape(Link.AND, 2, 1)
EITHER = Shape(Link.EITHER, 2, 0)

ENTAILED, OPEN, EXCLUDED = Label.ENTAILMENT, Label.NEUTRAL, Label.CONTRADICTION

# How often each kind of pair is drawn. Kinds with similar words balance each other, so that word counts say little
# about the label. There are few kinds: a small model has to learn from a few hundred rows what matters.
SHARES: dict[tuple[Shape, Shape], dict[Label, int]] = {
    (AND, ONE): {ENTAILED: 8, OPEN: 4},
    (AND, NOT_ONE): {EXCLUDED: 8, OPEN: 3},
    (BUT, ONE): {ENTAILED: 7, EXCLUDED: 8, OPEN: 4},
    (BUT, NOT_ONE): {ENTAILED: 5, EXCLUDED: 4, OPEN: 2},
    (EITHER, ONE): {OPEN: 5},
    (EITHER, NOT_ONE): {OPEN: 3},
}


@dataclass(frozen=True)
class Pair:
    """A premise, a hypothesis, and their true label."""

    premise: Sentence
    hypothesis: Sentence
    label: Label

    def content(self) -> str:
        """The user message of the row."""
        return f"Premise: {sentence_text(self.premise)}\nHypothesis: {sentence_text(self.hypothesis)}"


def shape_of(sentence: Sentence) -> Shape:
    """The shape of a sentence."""
    return Shape(sentence.link, len(sentence.clauses), sum(not clause.done for clause in sentence.clauses))


def make_pair(shapes: tuple[Shape, Shape], label: Label, lexicon: Lexicon, rng: Random) -> Pair:
    """A random pair of these shapes whose label, by truth table, is `label`.

    Two people do two things in the premise; the hypothesis is about them or about a third, who may do the same. Pairs
    are drawn until one has the required label.
    """
    names, verbs = rng.sample(lexicon.names, 3), rng.sample(lexicon.verbs, 3)
    premise_events = [(names[0], verbs[0]), (names[1], verbs[1])]
    new_event = (names[2], rng.choice(verbs))
    while True:
        premise = sentence(shapes[0], premise_events)
        hypothesis = sentence(shapes[1], rng.sample([*premise_events, new_event], shapes[1].clauses))
        if settled_relation(premise, hypothesis) is label and premise != hypothesis:
            return Pair(premise, hypothesis, label)


def sentence(shape: Shape, events: Sequence[Event]) -> Sentence:
    """The sentence of this shape about `events`. Negated clauses come last."""
    first_denied = shape.clauses - shape.denied
    clauses = [Clause(name, verb, done=index < first_denied) for index, (name, verb) in enumerate(events)]
    if shape.link is Link.NONE:
        return single(clauses[0])
    return both(*clauses) if shape.link is Link.AND else either(*clauses)


def kinds(count: int, rng: Random) -> list[tuple[tuple[Shape, Shape], Label]]:
    """`count` kinds of pairs in the proportions of SHARES, in random order."""
    deck = [(shapes, label) for shapes, shares in SHARES.items() for label, n in shares.items() for _ in range(n)]
    chosen = deck * (count // len(deck)) + rng.sample(deck, count % len(deck))
    rng.shuffle(chosen)
    return chosen


def make_pairs(split: str, count: int, seed: int) -> list[Pair]:
    """`count` different pairs for a split; the same seed gives the same pairs."""
    rng = Random(f"{split} {seed}")
    pairs: dict[str, Pair] = {}
    for shapes, label in kinds(count, rng):
        pair = make_pair(shapes, label, LEXICONS[split], rng)
        while pair.content() in pairs:
            pair = make_pair(shapes, label, LEXICONS[split], rng)
        pairs[pair.content()] = pair
    return list(pairs.values())


def rows(split: str, pairs: Sequence[Pair]) -> Iterator[dict[str, object]]:
    """The input rows of a split. Only test rows contain their gold label."""
    for number, pair in enumerate(pairs):
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": pair.content()}]
        row: dict[str, object] = {"id": f"{split}-{number:04}", "messages": messages}
        yield row | {"gold": pair.label.value} if split == "test" else row


def write_rows(folder: Path, splits: dict[str, list[Pair]]) -> None:
    """Write one JSON Lines file per split into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, pairs in splits.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(split, pairs)]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


# --- scores without logic


def majority_score(train: Sequence[Pair], test: Sequence[Pair]) -> float:
    """The share of test labels that equal the most frequent label of train."""
    [(label, _)] = Counter(pair.label for pair in train).most_common(1)
    return sum(pair.label is label for pair in test) / len(test)


def shallow_score(train: Sequence[Pair], test: Sequence[Pair], longest_ngram: int) -> float:
    """The accuracy of logistic regression over TF-IDF of words and word n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, longest_ngram)), LogisticRegression(max_iter=1000))
    model.fit([pair.content() for pair in train], [pair.label.value for pair in train])
    return float(model.score([pair.content() for pair in test], [pair.label.value for pair in test]))


def report(splits: dict[str, list[Pair]]) -> str:
    """Label counts per split and the scores of shallow methods, as text."""
    lines = []
    for split, pairs in splits.items():
        counts = Counter(pair.label.value for pair in pairs)
        lines.append(f"{split:10}  {len(pairs):4} rows  " + "  ".join(f"{label} {counts[label]}" for label in Label))
    train, test = splits["train"], splits["test"]
    lines.append(f"majority            {majority_score(train, test):.3f}")
    lines += [f"shallow, 1-{longest} words  {shallow_score(train, test, longest):.3f}" for longest in (1, 2, 3)]
    return "\n".join(lines)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the quickstart's rows.")
    parser.add_argument("folder", type=Path, nargs="?", help="folder to write to; without it, nothing is written")
    for split, count in (("train", 300), ("validation", 80), ("test", 200)):
        parser.add_argument(f"--{split}", type=int, default=count, help=f"number of rows (default {count})")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--report", action="store_true", help="print label counts and the scores of shallow methods")
    chosen = parser.parse_args(arguments)
    if chosen.folder is None and not chosen.report:
        parser.error("Give a folder to write to, or use --report.")
    return chosen


def main() -> None:
    """Write the files, print the report, or both."""
    chosen = parse_arguments()
    splits = {split: make_pairs(split, getattr(chosen, split), chosen.seed) for split in LEXICONS}
    if chosen.folder:
        write_rows(chosen.folder, splits)
    if chosen.report:
        print(report(splits))


if __name__ == "__main__":
    main()
