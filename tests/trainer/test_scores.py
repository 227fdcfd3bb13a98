"""The formulas, against published numbers and small tables that can be checked by hand."""

import pytest

from distillery_trainer.evaluation import scores


@pytest.mark.parametrize(
    ("teacher", "base", "student", "gap", "gain"),
    [
        pytest.param(0.6998, 0.5281, 0.6388, 0.645, 0.21, id="Llama-3.1-8B on ConjNLI"),
        pytest.param(0.6998, 0.4398, 0.5778, 0.531, 0.314, id="Phi-3-mini on ConjNLI"),
    ],
)
def test_published_table_gives_the_published_gap_and_gain(teacher, base, student, gap, gain):
    assert scores.gap_closed(teacher=teacher, base_teacher_prompt=base, student=student) == pytest.approx(gap, abs=5e-4)
    assert scores.relative_gain(base_teacher_prompt=base, student=student) == pytest.approx(gain, abs=5e-3)


def test_gap_is_not_clamped():
    assert scores.gap_closed(teacher=0.8, base_teacher_prompt=0.4, student=0.9) == pytest.approx(1.25)
    assert scores.gap_closed(teacher=0.8, base_teacher_prompt=0.4, student=0.2) == pytest.approx(-0.5)


def test_gap_is_absent_where_the_teacher_is_no_better():
    assert scores.gap_closed(teacher=0.5, base_teacher_prompt=0.5, student=0.9) is None
    assert scores.gap_closed(teacher=0.4, base_teacher_prompt=0.5, student=0.9) is None


def test_gain_over_a_base_without_right_answers_is_absent():
    assert scores.relative_gain(base_teacher_prompt=0.0, student=0.9) is None


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (190, 200, 0.9104, 0.9726)],
)
def test_wilson_interval_of_small_tables(right, rows, low, high):
    assert scores.wilson_interval(right, rows) == pytest.approx((low, high), abs=1e-4)


def test_macro_f1_counts_a_missing_answer_against_its_label_only():
    gold = ["yes", "yes", "no", "no"]
    # yes: precision 1, recall 1/2, F1 2/3. no: precision 1, recall 1, F1 1.
    assert scores.macro_f1(gold, ["yes", None, "no", "no"], ["yes", "no"]) == pytest.approx(5 / 6)


def test_macro_f1_leaves_out_labels_that_no_row_has():
    assert scores.macro_f1(["yes", "no"], ["yes", "no"], ["yes", "no", "maybe"]) == 1.0


def test_macro_f1_of_no_answers_is_zero():
    assert scores.macro_f1(["yes", "no"], [None, None], ["yes", "no"]) == 0.0


def test_mcnemar_counts_only_rows_that_differ():
    # 8 rows that only the student has right, 1 that only the base has: 2 * (C(9,0) + C(9,1)) / 2^9 = 20 / 512.
    student = [True] * 8 + [False] + [True] * 50
    base = [False] * 8 + [True] + [True] * 50
    assert scores.mcnemar_p(student, base) == pytest.approx(20 / 512)


def test_mcnemar_of_equal_answers_is_one():
    assert scores.mcnemar_p([True, False], [True, False]) == 1.0


def test_mcnemar_refuses_rows_that_are_not_paired():
    with pytest.raises(ValueError, match="shorter"):
        scores.mcnemar_p([True, False], [True])


def test_majority_of_a_tie_is_the_first_in_the_alphabet():
    assert scores.majority(["neutral", "entailment", "entailment", "neutral", "contradiction"]) == "entailment"


def test_shallow_baseline_reads_words():
    texts = ["it is not so", "it is so", "this is not good", "this is good"] * 5
    answers = ["contradiction", "entailment"] * 10
    assert scores.shallow_answers(texts, answers, ["that was not bad", "that was bad"]) == [
        "contradiction",
        "entailment",
    ]


def test_shallow_baseline_of_one_answer_always_gives_it():
    assert scores.shallow_answers(["a", "b"], ["neutral", "neutral"], ["c", "d", "e"]) == ["neutral"] * 3


def test_metrics_that_were_not_measured_are_absent():
    assert scores.median([None, None]) is None
    assert scores.mean([None]) is None
    assert scores.median([0.4, None, 0.1, 0.2]) == 0.2
    assert scores.mean([10, None, 20]) == 15


def test_bootstrap_interval_of_even_zeros_and_ones_is_nearly_wilson_s():
    low, high = scores.bootstrap_interval([0.0, 1.0] * 100)
    assert (low, high) == pytest.approx((0.43, 0.57), abs=0.006)
    assert scores.wilson_interval(100, 200) == pytest.approx((0.4314, 0.5686), abs=1e-4)


def test_bootstrap_is_the_same_each_time():
    values = [0.1, 0.5, 0.4, 0.9, 0.2]
    assert scores.bootstrap_interval(values) == scores.bootstrap_interval(values)
    assert scores.paired_bootstrap_p(values, values[::-1]) == scores.paired_bootstrap_p(values, values[::-1])


def test_interval_of_equal_values_is_a_point_and_of_one_value_none():
    assert scores.bootstrap_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)
    assert scores.bootstrap_interval([0.25]) is None


def test_paired_bootstrap_is_near_the_normal_test_of_a_mean():
    # 100 differences, evenly from -0.87 to 1.11: mean 0.12, standard error 0.0577, z 2.08, p 0.038.
    first, second = [0.12 + (number - 49.5) / 50 for number in range(100)], [0.0] * 100
    assert scores.paired_bootstrap_p(first, second) == pytest.approx(0.038, abs=0.006)
    assert scores.paired_bootstrap_p(second, first) == pytest.approx(0.038, abs=0.006)


def test_paired_bootstrap_looks_at_pairs():
    first = [number / 100 for number in range(100)]
    always_a_little_more = [value + 0.01 + (index % 2) / 1000 for index, value in enumerate(first)]
    assert scores.paired_bootstrap_p(always_a_little_more, first) == 0.0001


def test_paired_bootstrap_of_equal_or_single_values_says_nothing():
    assert scores.paired_bootstrap_p([0.5, 0.2], [0.5, 0.2]) == 1.0
    assert scores.paired_bootstrap_p([0.5], [0.2]) == 1.0


def test_perplexity_weighs_tokens_not_replies():
    # exp((6 + 0) / (3 + 1)); the mean of the two replies' perplexities would be 4.19.
    assert scores.perplexity([(6.0, 3), (0.0, 1)]) == pytest.approx(4.4817, abs=1e-4)
    assert scores.perplexity([]) is None
    assert scores.perplexity([(0.0, 0)]) is None
