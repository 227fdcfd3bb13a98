"""Rows that ask what another row asks: which of them are rejected, and with which reason and message."""

import random
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.data.splits import SPLITS
from distillery_trainer.filters import minhash
from distillery_trainer.filters.deduplication import Deduplication
from generate_run import GenerateRun

WORDS = [f"word{number}" for number in range(5_000)]


@pytest.fixture
def config(tmp_path: Path):
    def of(**generation) -> RunConfig:
        return RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1", generation=generation).config_file)

    return of


def filters(**chosen) -> dict:
    return {"filters": chosen}


def new_row(text: str, line: int = 1, system: str | None = None, **fields) -> Row:
    before: list[Message] = [{"role": "system", "content": system}] if system is not None else []
    return Row("train", line, "x", [*before, {"role": "user", "content": text}], **fields)


def deduplicated(config: RunConfig, *rows: tuple[str, str | Row]) -> Deduplication:
    """The deduplication of (split, row) pairs, numbered as lines from 1."""
    deduplication = Deduplication(config)
    for index, (_, row) in enumerate(rows):
        deduplication.add(new_row(row, index + 1) if isinstance(row, str) else row)
    deduplication.resolve(numpy.array([SPLITS.index(split) for split, _ in rows], dtype=numpy.uint8))
    return deduplication


def reasons(deduplication: Deduplication, count: int) -> list[str | None]:
    rejections = [deduplication.rejection(index) for index in range(count)]
    return [rejection and rejection.reason for rejection in rejections]


# --- exact


def test_a_row_that_asks_what_an_earlier_one_asks_is_a_duplicate(config):
    deduplication = deduplicated(
        config(), ("train", "Is it so?"), ("train", "Or is it not?"), ("train", "Is  IT\nso? ")
    )
    assert reasons(deduplication, 3) == [None, None, "duplicate"]
    assert deduplication.rejection(2).message == "The row asks the same as line 1 of the train rows."
    assert deduplication.rejected == {"train": {"duplicate": 1}, "validation": {}}


def test_a_train_row_is_rejected_for_a_held_out_row_and_a_test_row_never_is(config):
    rows = [("train", "a"), ("train", "b"), ("validation", "b"), ("validation", "c"), ("test", "c"), ("test", "c")]
    deduplication = deduplicated(config(), *rows)
    assert reasons(deduplication, 6) == [None, "leaks_into_test", None, "leaks_into_test", None, None]
    assert deduplication.rejection(1).message == "The row asks the same as line 3 of the validation rows."
    assert deduplication.rejection(3).message == "The row asks the same as line 5 of the test rows."
    assert deduplication.rejected == {"train": {"leaks_into_test": 1}, "validation": {"leaks_into_test": 1}}


def test_row_that_is_both_leak_and_duplicate_is_a_leak(config):
    deduplication = deduplicated(config(), ("train", "a"), ("train", "a"), ("test", "a"))
    assert reasons(deduplication, 3) == ["leaks_into_test", "leaks_into_test", None]


def test_each_search_can_be_disabled(config):
    rows = [("train", "a"), ("train", "a"), ("train", "b"), ("test", "b")]
    leaks_only, copies_only = filters(duplicates="None"), filters(leakage="None")
    assert reasons(deduplicated(config(**leaks_only), *rows), 4) == [None, None, "leaks_into_test", None]
    assert reasons(deduplicated(config(**copies_only), *rows), 4) == [None, "duplicate", None, None]


def test_without_leakage_search_a_copy_is_one_of_its_own_split(config):
    rows = [("test", "a"), ("train", "a"), ("train", "a")]
    deduplication = deduplicated(config(**filters(leakage="None")), *rows)
    assert reasons(deduplication, 3) == [None, None, "duplicate"]
    assert deduplication.rejection(2).message == "The row asks the same as line 2 of the train rows."


def test_nothing_is_rejected_before_resolve(config):
    assert Deduplication(config()).rejection(5) is None


def test_one_row_alone_stays(config):
    assert reasons(deduplicated(config(**filters(duplicates="Near")), ("train", "")), 1) == [None]


def test_rows_without_a_split_are_a_programming_error(config):
    deduplication = Deduplication(config())
    deduplication.add(new_row("a"))
    with pytest.raises(ValueError, match="1 rows were added, but 2 have a split"):
        deduplication.resolve(numpy.zeros(2, dtype=numpy.uint8))


def test_system_message_counts_unless_it_is_replaced(config):
    rows = [("train", new_row("Go on.", system="Be brief.")), ("train", new_row("Go on.", system="Be kind."))]
    assert reasons(deduplicated(config(), *rows), 2) == [None, None]
    assert reasons(deduplicated(config(prompts={"student": "Be."}), *rows), 2) == [None, "duplicate"]


def conversation(reply: str, **fields) -> Row:
    turns = [("user", "Hello"), ("assistant", reply), ("user", "And now?")]
    return Row("train", 1, "x", [{"role": role, "content": content} for role, content in turns], **fields)


def test_replies_that_the_teacher_replaces_do_not_count(config):
    anew = [("train", conversation("Hi.")), ("train", conversation("Good day."))]
    kept = [("train", conversation(reply, keeps_existing_replies=True)) for reply in ("Hi.", "Good day.")]
    assert reasons(deduplicated(config(), *anew), 2) == [None, "duplicate"]
    assert reasons(deduplicated(config(history="Original"), *anew), 2) == [None, None]
    assert reasons(deduplicated(config(), *kept), 2) == [None, None]


SPLIT_ROWS = st.lists(st.tuples(st.sampled_from(["train", "validation", "test"]), st.sampled_from("abcd")), max_size=25)


@given(SPLIT_ROWS, st.sampled_from(["Exact", "Near"]))
@settings(max_examples=60, deadline=None)
def test_remaining_rows_are_unique_and_no_text_is_lost(tmp_path_factory, rows, level):
    run = GenerateRun(tmp_path_factory.mktemp("run"), "http://127.0.0.1:9/v1")
    run.generation = filters(duplicates=level, leakage=level)
    deduplication = deduplicated(RunConfig.read(run.config_file), *rows)
    stays = [row for index, row in enumerate(rows) if deduplication.rejection(index) is None]
    assert {text for _, text in stays} == {text for _, text in rows}
    assert [row for row in stays if row[0] == "test"] == [row for row in rows if row[0] == "test"]
    learnt = [text for split, text in stays if split != "test"]
    assert len(learnt) == len(set(learnt))
    assert not set(learnt) & {text for split, text in rows if split == "test"}
    assert sum(counts.total() for counts in deduplication.rejected.values()) == len(rows) - len(stays)


# --- near


def text_of(rng: random.Random, words: int = 60) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def with_another_end(text: str, words: int, rng: random.Random) -> str:
    return " ".join([*text.split()[:-words], *rng.choices(WORDS, k=words)])


def test_row_with_a_few_other_words_is_near_and_one_with_many_is_not(config):
    rng = random.Random(1)
    text = text_of(rng)
    rows = [("train", text), ("train", with_another_end(text, 3, rng)), ("train", with_another_end(text, 25, rng))]
    near_too, exact_only = config(**filters(duplicates="Near")), config()
    assert reasons(deduplicated(near_too, *rows), 3) == [None, "duplicate", None]
    assert (
        deduplicated(near_too, *rows).rejection(1).message
        == "The row asks nearly the same as line 1 of the train rows."
    )
    assert reasons(deduplicated(exact_only, *rows), 3) == [None, None, None]


def test_near_search_of_one_kind_is_exact_for_the_other(config):
    rng = random.Random(2)
    text = text_of(rng)
    rows = [("train", text), ("train", with_another_end(text, 2, rng)), ("test", with_another_end(text, 2, rng))]
    leaks = config(**filters(leakage="Near"))
    copies = config(**filters(duplicates="Near"))
    assert reasons(deduplicated(leaks, *rows), 3) == ["leaks_into_test", "leaks_into_test", None]
    assert reasons(deduplicated(copies, *rows), 3) == [None, "duplicate", None]


def test_many_rows_with_the_same_phrases_are_all_rejected_for_one_test_row(config):
    rng = random.Random(3)
    text = text_of(rng)
    rows = [("train", text + "!" * number) for number in range(100)] + [("test", with_another_end(text, 1, rng))]
    for duplicates in ("None", "Near"):
        deduplication = deduplicated(config(**filters(leakage="Near", duplicates=duplicates)), *rows)
        assert reasons(deduplication, 101) == ["leaks_into_test"] * 100 + [None]


def test_rows_with_a_long_system_message_in_common_are_not_near_for_that(config):
    rng = random.Random(4)
    system = text_of(rng, 300)
    rows = [("train", new_row(text_of(rng, 12), number, system)) for number in range(50)]
    assert reasons(deduplicated(config(**filters(duplicates="Near")), *rows), 50) == [None] * 50


def test_same_text_under_another_system_message_is_not_near(config):
    rng = random.Random(5)
    text = text_of(rng)
    rows = [("train", new_row(text, 1, "Translate to French.")), ("train", new_row(text, 2, "Translate to German."))]
    assert reasons(deduplicated(config(**filters(duplicates="Near")), *rows), 2) == [None, None]


def test_nearly_all_planted_pairs_are_found_and_no_other(config):
    rng = random.Random(6)
    template = text_of(rng, 40)
    texts = [f"{template} {text_of(rng, 60)}" for _ in range(1_500)]
    rows = [("train", text) for text in texts]
    rows += [("train", with_another_end(text, 4, rng)) for text in texts[:500]]
    deduplication = deduplicated(config(**filters(duplicates="Near")), *rows)
    found = [index for index in range(2_000) if deduplication.rejection(index)]
    assert all(index >= 1_500 for index in found)
    assert len(found) >= 490


# --- phrases and bands


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat sat DOWN.", [" the cat sat", " cat sat down"]),
        ("Yes, sir!", [" yes sir"]),
        ("???", [" ???"]),
        ("", [" "]),
        ("猫が好き", [" 猫 が 好", " が 好 き"]),
        ("Straße in Köln", [" strasse in köln"]),
    ],
)
def test_phrases_of_a_text(text, expected):
    assert minhash.phrases(text) == expected


@pytest.mark.parametrize(("threshold", "length"), [(0.51, 3), (0.6, 4), (0.7, 5), (0.8, 7), (0.9, 11), (1.0, 128)])
def test_length_of_a_band_by_threshold(threshold, length):
    assert minhash.band_length(threshold) == length


def test_signatures_agree_as_often_as_the_texts_do():
    rng = random.Random(7)
    builder = minhash.SignatureBuilder()
    for _ in range(200):
        text = text_of(rng, 102)  # 100 phrases, of which 90 stay: 90 / 110
        builder.add(text, "")
        builder.add(with_another_end(text, 10, rng), "")
    signatures = builder.matrix()
    shares = (signatures[::2] == signatures[1::2]).mean(axis=1)
    assert abs(shares.mean() - 90 / 110) < 0.01
    assert shares.std() < 0.04


def test_texts_that_share_a_band_by_the_thousand_are_compared_with_neighbours_only():
    signatures = numpy.random.default_rng(8).integers(0, 1 << 16, (3_000, minhash.SIGNATURE_LENGTH), dtype=numpy.uint16)
    signatures[:, :7] = 1
    signatures[2_000] = signatures[5]
    found = [numpy.stack(pair, axis=1) for pair in minhash.similar_pairs(signatures, numpy.arange(3_000), 0.8)]
    assert set(map(tuple, numpy.concatenate(found).tolist())) == {(5, 2_000)}
