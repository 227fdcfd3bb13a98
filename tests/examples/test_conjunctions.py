"""The quickstart's sentences: truth, text and parsing, and rows with few shortcuts."""

import json
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conjunction_grammar import (
    VERBS,
    Clause,
    Label,
    Sentence,
    UnknownSentenceError,
    both,
    either,
    parse,
    relation,
    sentence_text,
    settled_relation,
    single,
)
from conjunctions import (
    LEXICONS,
    Shape,
    main,
    majority_score,
    make_pairs,
    parse_arguments,
    rows,
    shallow_score,
    shape_of,
)

clauses = st.builds(Clause, st.sampled_from(["Mara", "Tom", "Ines"]), st.sampled_from(["sing", "cook"]), st.booleans())
pairs_of_clauses = st.tuples(clauses, clauses).filter(lambda pair: pair[0].event != pair[1].event)
sentences = st.one_of(
    clauses.map(single),
    pairs_of_clauses.map(lambda pair: both(*pair)),
    pairs_of_clauses.map(lambda pair: either(*pair)),
)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("Mara sang and Tom cooked.", "Tom cooked.", "entailment"),
        ("Mara sang and Tom cooked.", "Tom did not cook.", "contradiction"),
        ("Mara sang and Tom cooked.", "Tom sang.", "neutral"),
        ("Mara sang and Tom cooked.", "Tom did not sing.", "neutral"),
        ("Mara sang and Tom cooked.", "Tom cooked and Mara sang.", "entailment"),
        ("Mara sang and Tom cooked.", "Mara sang, but Tom did not cook.", "contradiction"),
        ("Mara sang, but Tom did not cook.", "Mara sang.", "entailment"),
        ("Mara sang, but Tom did not cook.", "Tom cooked.", "contradiction"),
        ("Mara sang, but Tom did not cook.", "Tom did not cook.", "entailment"),
        ("Mara sang, but Tom did not cook.", "Either Tom cooked or Mara sang.", "entailment"),
        ("Either Mara sang or Tom cooked.", "Tom cooked.", "neutral"),
        ("Either Mara sang or Tom cooked.", "Tom did not cook.", "neutral"),
        ("Either Mara sang or Tom cooked.", "Either Tom cooked or Mara sang.", "entailment"),
        ("Either Mara sang or Tom cooked.", "Mara did not sing and Tom did not cook.", "contradiction"),
        ("Mara did not sing and Tom did not cook.", "Either Mara sang or Tom cooked.", "contradiction"),
        ("Mara did not sing and Tom did not cook.", "Ines danced.", "neutral"),
    ],
)
def test_label_follows_from_the_truth_table(premise: str, hypothesis: str, label: str) -> None:
    assert settled_relation(parse(premise), parse(hypothesis)) == label


@pytest.mark.parametrize(
    ("premise", "hypothesis", "inclusive", "exclusive"),
    [
        ("Either Mara sang or Tom cooked.", "Mara sang and Tom cooked.", "neutral", "contradiction"),
        ("Mara sang and Tom cooked.", "Either Mara sang or Tom cooked.", "entailment", "contradiction"),
        ("Mara sang.", "Either Mara sang or Tom cooked.", "entailment", "neutral"),
    ],
)
def test_pair_that_depends_on_the_reading_of_or_has_no_settled_label(
    premise: str, hypothesis: str, inclusive: str, exclusive: str
) -> None:
    read = (parse(premise), parse(hypothesis))
    assert relation(*read, exclusive=False) == inclusive
    assert relation(*read, exclusive=True) == exclusive
    assert settled_relation(*read) is None


def test_premise_that_contradicts_itself_has_no_label() -> None:
    premise = both(Clause("Mara", "sing"), Clause("Mara", "sing", done=False))
    with pytest.raises(ValueError, match=r"contradicts itself: Mara sang, but Mara did not sing\."):
        relation(premise, single(Clause("Tom", "cook")), exclusive=False)


def test_sentences_are_written_in_plain_english() -> None:
    mara, tom = Clause("Mara", "sing"), Clause("Tom", "cook", done=False)
    assert sentence_text(single(tom)) == "Tom did not cook."
    assert sentence_text(both(mara, tom)) == "Mara sang, but Tom did not cook."
    assert sentence_text(both(tom, mara)) == "Tom did not cook, but Mara sang."
    assert sentence_text(both(tom, tom)) == "Tom did not cook and Tom did not cook."
    assert sentence_text(either(mara, tom)) == "Either Mara sang or Tom did not cook."


@given(sentences)
def test_parsing_is_the_inverse_of_formatting(sentence: Sentence) -> None:
    assert parse(sentence_text(sentence)) == sentence


@given(sentences)
def test_every_sentence_entails_itself(sentence: Sentence) -> None:
    assert settled_relation(sentence, sentence) is Label.ENTAILMENT


@given(sentences, clauses)
def test_negating_the_hypothesis_turns_entailment_into_contradiction(premise: Sentence, clause: Clause) -> None:
    opposite = {"entailment": "contradiction", "neutral": "neutral", "contradiction": "entailment"}
    denied = Clause(clause.name, clause.verb, not clause.done)
    label = relation(premise, single(clause), exclusive=False)
    assert relation(premise, single(denied), exclusive=False) == opposite[label]


@pytest.mark.parametrize(
    "words", ["", "Mara.", "Mara sing.", "Mara flibbed.", "Mara did not sang.", "Mara sang or Tom."]
)
def test_sentence_outside_the_grammar_is_refused(words: str) -> None:
    with pytest.raises(UnknownSentenceError, match="is neither 'NAME sang' nor 'NAME did not sing'"):
        parse(words)


def test_no_two_verbs_share_a_form() -> None:
    forms = [form for forms in VERBS.items() for form in forms]
    assert len(forms) == len(set(forms)) == 96


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_splits_share_neither_name_nor_verb(one: str, other: str) -> None:
    first, second = (
        {
            form
            for pair in make_pairs(split, 300, seed=7)
            for word in pair.content().split()
            for form in [word.strip(".,")]
        }
        for split in (one, other)
    )
    function_words = {"Premise:", "Hypothesis:", "Either", "or", "and", "but", "did", "not"}
    assert first & second == function_words
    assert not set(LEXICONS[one].verbs) & set(LEXICONS[other].verbs)


def test_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert make_pairs("test", 50, seed=7) == make_pairs("test", 50, seed=7)
    assert make_pairs("test", 50, seed=7) != make_pairs("test", 50, seed=8)


def test_no_row_occurs_twice_and_none_repeats_its_premise() -> None:
    pairs = make_pairs("test", 400, seed=7)
    assert len({pair.content() for pair in pairs}) == 400
    assert all(pair.premise != pair.hypothesis for pair in pairs)


@pytest.mark.parametrize(("split", "count"), [("train", 300), ("test", 200)])
def test_each_label_has_about_a_third_of_the_rows(split: str, count: int) -> None:
    shares = Counter(pair.label.value for pair in make_pairs(split, count, seed=7))
    assert sorted(shares) == ["contradiction", "entailment", "neutral"]
    assert all(0.28 * count <= rows_of_label <= 0.39 * count for rows_of_label in shares.values())


def test_best_rule_over_links_negations_and_lengths_is_right_for_three_rows_in_five() -> None:
    labels_by_shape: dict[tuple[Shape, Shape], Counter[Label]] = defaultdict(Counter)
    for pair in make_pairs("test", 1000, seed=3):
        labels_by_shape[shape_of(pair.premise), shape_of(pair.hypothesis)][pair.label] += 1
    right = sum(labels.most_common(1)[0][1] for labels in labels_by_shape.values())
    assert right / 1000 < 0.62


def test_shallow_methods_stay_under_half() -> None:
    pytest.importorskip("sklearn")
    train, test = make_pairs("train", 300, seed=7), make_pairs("test", 200, seed=7)
    assert majority_score(train, test) < 0.40
    assert shallow_score(train, test, longest_ngram=1) < 0.50
    assert shallow_score(train, test, longest_ngram=2) < 0.50


def test_rows_have_two_messages_and_only_test_rows_have_gold() -> None:
    [train] = rows("train", make_pairs("train", 1, seed=7))
    [test] = rows("test", make_pairs("test", 1, seed=7))
    assert list(train) == ["id", "messages"]
    assert list(test) == ["id", "messages", "gold"]
    assert [message["role"] for message in test["messages"]] == ["system", "user"]  # type: ignore[index,attr-defined]
    assert test["id"] == "test-0000"


def test_files_are_json_lines_of_the_requested_lengths(tmp_path, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(
        "sys.argv", ["conjunctions.py", str(tmp_path / "new"), "--train", "12", "--validation", "3", "--test", "5"]
    )
    main()
    lengths = {
        path.name: len([json.loads(line) for line in path.open(encoding="utf-8")])
        for path in (tmp_path / "new").iterdir()
    }
    assert lengths == {"train.jsonl": 12, "validation.jsonl": 3, "test.jsonl": 5}
    assert capsys.readouterr().out == ""


def test_command_without_folder_or_report_says_what_to_give(capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit):
        parse_arguments([])
    assert "Give a folder to write to, or use --report." in capsys.readouterr().err
