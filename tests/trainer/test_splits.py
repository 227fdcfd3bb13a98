"""Which split a row goes to: validationFraction, and the held-out rows if there is no test source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.spec import Data
from distillery_trainer.data.rows import Row
from distillery_trainer.data.splits import Splits
from distillery_trainer.runtime.errors import UserError
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher

TEXTS = [f"text {number}" for number in range(1000)]


def new_row(text: str, split: str = "train") -> Row:
    return Row(split, 1, "x", [{"role": "user", "content": text}])


def data(**settings) -> Data:
    return Data.model_validate({"train": {"uri": "train.jsonl"}, **settings})


def splits(rows: list[str | Row], **settings) -> tuple[Splits, dict[str, int]]:
    chosen = Splits(data(**settings), lambda row: row.text)
    for row in rows:
        chosen.add(new_row(row) if isinstance(row, str) else row)
    return chosen, chosen.choose()


def members(chosen: Splits, texts: list[str], split: str) -> set[str]:
    return {text for index, text in enumerate(texts) if chosen.of(index) == split}


WITH_TEST = {"validationFraction": 0.2, "test": {"uri": "test.jsonl"}}


def test_share_of_the_train_rows_becomes_validation():
    chosen, counts = splits(TEXTS, **WITH_TEST)
    assert counts == {"train": 795, "validation": 205, "test": 0}
    assert len(members(chosen, TEXTS, "validation")) == 205


def test_row_stays_where_it_is_when_others_are_added():
    few, _ = splits(TEXTS[:500], **WITH_TEST)
    many, _ = splits(TEXTS[::-1], **WITH_TEST)
    assert members(few, TEXTS[:500], "validation") == members(many, TEXTS[::-1], "validation") & set(TEXTS[:500])


def test_larger_share_takes_a_superset():
    small, _ = splits(TEXTS, **WITH_TEST)
    large, _ = splits(TEXTS, **WITH_TEST | {"validationFraction": 0.4})
    assert members(small, TEXTS, "validation") < members(large, TEXTS, "validation")


def test_held_out_rows_come_from_what_becomes_validation():
    chosen, counts = splits(TEXTS, validationFraction=0.2)
    assert counts == {"train": 795, "validation": 102, "test": 103}
    assert chosen.holds_out_validation_rows
    assert len(members(chosen, TEXTS, "test")) == 103


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60).filter(lambda texts: len(set(texts)) > 1))
def test_held_out_rows_are_whole_groups_and_some_are_left(texts):
    rows = [new_row(text, "validation") for text in texts]
    chosen, counts = splits(rows, validation={"uri": "validation.jsonl"})
    held_out = members(chosen, texts, "test")
    assert counts == {"train": 0, "validation": len(texts) - counts["test"], "test": counts["test"]}
    assert 0 < counts["test"] < len(texts)
    assert sum(text in held_out for text in texts) == counts["test"]


def test_about_half_of_many_groups_is_held_out():
    rows = [new_row(text, "validation") for text in TEXTS[:101]]
    assert splits(rows, validation={"uri": "validation.jsonl"})[1] == {"train": 0, "validation": 50, "test": 51}


def test_no_train_row_is_held_out_although_a_validation_row_is_like_it():
    rows = [new_row(text, split) for text in "abcd" for split in ("train", "validation")]
    chosen, counts = splits(rows, validation={"uri": "validation.jsonl"})
    assert counts == {"train": 4, "validation": 2, "test": 2}
    assert {chosen.of(index) for index in range(0, 8, 2)} == {"train"}


def test_rows_of_the_test_source_stay():
    chosen, counts = splits([new_row(text, "test") for text in TEXTS] + TEXTS, **WITH_TEST)
    assert not chosen.holds_out_validation_rows
    assert counts == {"train": 795, "validation": 205, "test": 1000}
    assert {chosen.of(index) for index in range(1000)} == {"test"}


def test_row_that_may_be_held_out_has_two_possible_splits():
    chosen = Splits(data(validation={"uri": "validation.jsonl"}), lambda row: row.text)
    assert chosen.add(new_row("a")) == ["train"]
    assert chosen.add(new_row("b", "validation")) == ["validation", "test"]


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_counts_are_those_of_the_rows_and_groups_stay_together(texts, share):
    try:
        chosen, counts = splits(texts, validationFraction=share)
    except UserError as error:
        assert "provide more " in error.message  # noqa: PT017 - whether there is an error depends on the texts
        return
    assert sum(counts.values()) == len(texts)
    found = [chosen.of(index) for index in range(len(texts))]
    assert counts == {split: found.count(split) for split in counts}
    assert min(counts.values()) > 0
    assert len({(text, split) for text, split in zip(texts, found, strict=True)}) == len(set(texts))


@pytest.mark.parametrize(
    ("texts", "share", "sentence"),
    [
        (["a"], 0.01, "0.01 of 1 train rows leaves no validation rows, because rows about the same"
                      " text stay in the same split. Increase it, or provide more rows."),
        (["a", "a", "a"], 0.99, "0.99 of 3 train rows leaves no train rows"),
    ],
)  # fmt: skip
def test_split_that_would_be_empty_is_an_error(texts, share, sentence):
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
