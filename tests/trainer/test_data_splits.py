"""Which split a row goes to: validationFraction, and the held-out rows where none are given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.spec import Data
from distillery_trainer.data.carving import Splits
from distillery_trainer.errors import UserError
from distillery_trainer.records import Example
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher

TEXTS = [f"text {number}" for number in range(1000)]


def example(text: str, split: str = "train") -> Example:
    return Example(split, 1, "x", [{"role": "user", "content": text}])


def data(**settings) -> Data:
    return Data.model_validate({"train": {"uri": "train.jsonl"}, **settings})


def splits(texts: list[str], **settings) -> tuple[Splits, dict[str, int]]:
    chosen = Splits(data(**settings), lambda row: row.text)
    for text in texts:
        chosen.look(example(text))
    return chosen, chosen.decide()


def members(chosen: Splits, texts: list[str], split: str) -> set[str]:
    return {text for text in texts if chosen.of(example(text)) == split}


WITH_TEST = {"validationFraction": 0.2, "test": {"uri": "test.jsonl"}}


def test_share_of_the_train_rows_becomes_validation():
    chosen, counts = splits(TEXTS, **WITH_TEST)
    assert counts == {"train": 795, "validation": 205, "test": 0}
    assert len(members(chosen, TEXTS, "validation")) == 205


def test_row_stays_where_it_is_when_others_are_added():
    few, _ = splits(TEXTS[:500], **WITH_TEST)
    many, _ = splits(TEXTS[::-1], **WITH_TEST)
    assert members(few, TEXTS[:500], "validation") == members(many, TEXTS[:500], "validation")


def test_larger_share_takes_more_and_gives_nothing_back():
    small, _ = splits(TEXTS, **WITH_TEST)
    large, _ = splits(TEXTS, **WITH_TEST | {"validationFraction": 0.4})
    assert members(small, TEXTS, "validation") < members(large, TEXTS, "validation")


def test_held_out_rows_come_from_what_becomes_validation():
    chosen, counts = splits(TEXTS, validationFraction=0.2)
    assert counts == {"train": 795, "validation": 102, "test": 103}
    assert chosen.carves
    assert len(members(chosen, TEXTS, "test")) == 103


def test_rows_of_the_test_source_stay():
    chosen, _ = splits(TEXTS, **WITH_TEST)
    assert not chosen.carves
    assert {chosen.of(example(text, "test")) for text in TEXTS} == {"test"}


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_counts_are_those_of_the_rows_and_groups_stay_together(texts, share):
    try:
        chosen, counts = splits(texts, validationFraction=share)
    except UserError as error:
        assert "Give " in error.message  # noqa: PT017 - whether there is an error depends on the texts
        return
    assert sum(counts.values()) == len(texts)
    assert counts == {split: sum(chosen.of(example(text)) == split for text in texts) for split in counts}
    assert min(counts.values()) > 0


@pytest.mark.parametrize(
    ("texts", "share", "sentence"),
    [
        (["a"], 0.01, "0.01 of 1 train rows leaves no validation row: rows about the same text stay together. Give a"
                      " larger one, or more rows."),
        (["a", "a", "a"], 0.99, "0.99 of 3 train rows leaves no train row"),
    ],
)  # fmt: skip
def test_split_that_would_be_empty_is_a_sentence(texts, share, sentence):
    with pytest.raises(UserError) as error:
        splits(texts, **WITH_TEST | {"validationFraction": share})
    assert error.value.message.startswith(f"data.validationFraction: {sentence}")


def test_stage_splits_its_train_rows(tmp_path):
    rows, test = nli_rows(60), nli_rows(3, 200)
    with gold_teacher(gold_of(rows, test)) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=rows, validation=None, test=test)
        run.data = {"validationFraction": 0.25}
        result = run.run()
    assert result.exit_code == 0, result.message
    assert {split: counts.kept for split, counts in result.splits.items()} == {"train": 37, "validation": 23, "test": 3}
    assert not {row["id"] for row in run.rows("train")} & {row["id"] for row in run.rows("validation")}
