"""The result table of a run, and the lines below it."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from distillery_operator.cli.result_table import show_result
from distillery_operator.local.run_result import RunResult

RESULT = {
    "name": "conjnli",
    "state": "Done",
    "reason": "Succeeded",
    "rows": {"read": 560, "kept": 541, "rejected": 19, "rejectedByReason": {"bad_json": 7, "truncated": 12}},
    "usage": {"requests": 1612, "inputTokens": 120345, "outputTokens": 23456},
    "evaluation": {
        "sampleSize": 120,
        "heldOutFromValidation": True,
        "device": "cpu",
        "teacher": {
            "score": 0.9,
            "low": 0.85,
            "high": 0.93,
            "macroF1": 0.89,
            "unreadable": 0.025,
            "promptTokens": 212.3,
            "answerTokens": 37.9,
            "latencySeconds": 0.812,
        },
        "baseTeacherPrompt": {"score": 0.4},
        "base": {"score": 0.0},
        "student": {"score": 0.85, "low": 0.79, "high": 0.9},
        "majority": {"score": 0.38},
        "shallow": {"score": 0.45},
        "gapClosed": 0.9,
        "pValue": 0.00001,
    },
    "files": {"model": "train-a/model", "predictions": "evaluate-a/predictions.jsonl"},
}


def shown(result, width=100):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_result(console, RunResult.model_validate(result), Path("runs/conjnli"))
    return console.file.getvalue()


def row(text, start):
    return next(line.split() for line in text.splitlines() if line.strip().startswith(start))


VERIFICATION = {"rows": 16, "alike": 16, "requiredShare": 1.0, "latencySeconds": 0.181, "calls": 20}


@pytest.mark.parametrize(("busy", "word"), [(False, "server."), (True, "server, while the machine was busy.")])
def test_a_verified_students_latency_is_that_of_its_server(busy, word):
    text = shown({**RESULT, "verification": {**VERIFICATION, "busy": busy}})
    assert row(text, "Student")[-1] == "0.18s"
    assert row(text, "Teacher")[-1] == "0.81s"
    assert f"Latency: median of single requests; base model on cpu, student through its {word}" in text


def test_table_shows_the_figures_of_every_system():
    text = shown(RESULT)
    assert row(text, "Teacher")[2:] == ["0.900", "0.85-0.93", "0.890", "2.5%", "212", "37.9", "0.81s"]
    assert row(text, "Student") == ["Student", "student", "0.850", "0.79-0.90"]
    assert row(text, "Majority") == ["Majority", "-", "0.380"]
    assert row(text, "Shallow") == ["Shallow", "-", "0.450"]
    assert [line.split()[2:4] for line in text.splitlines() if "Base model" in line] == [
        ["teacher", "0.400"],
        ["student", "0.000"],
    ]


@pytest.mark.parametrize(("met", "word"), [(True, "passed"), (False, "failed")])
def test_the_verdict_of_the_gate_stands_below_the_table(met, word):
    gate = {"met": met, "message": "the figures"}
    assert f"Quality gate {word}: the figures." in shown(
        {**RESULT, "evaluation": {**RESULT["evaluation"], "gate": gate}}
    )


def test_the_learning_curve_stands_below_the_table():
    points = [{"rows": rows, "score": score} for rows, score in ((75, 0.5), (150, 0.7), (300, 0.8))]
    curve = {"points": points, "gain": 0.081, "gainLow": 0.05, "gainHigh": 0.1}
    text = shown({**RESULT, "evaluation": {**RESULT["evaluation"], "learningCurve": curve}})
    assert (
        "Learning curve: 0.500 with 75 train rows, 0.700 with 150, 0.800 with 300; twice the rows promise +0.08 (+0.05"
        " to +0.10)."
    ) in text


COST = {"teacher": 5.25, "student": 0.0123, "currency": "USD"}


@pytest.mark.parametrize("width", [80, 140])
def test_a_thousand_calls_of_teacher_and_student_stand_in_a_table_with_their_tokens(width):
    text = shown({**RESULT, "evaluation": {**RESULT["evaluation"], "cost": COST}}, width)
    costs = text.partition("\nCost")[2]
    assert row(costs, "Teacher") == ["Teacher", "teacher", "212", "37.9", "0.81s", "5.25"]
    assert row(costs, "Student") == ["Student", "student", "0.012"]
    assert "Base model" not in costs
    assert row(text, "Teacher")[-1] == "2.5%"
    assert "1,000 calls cost in USD: 5.25 (teacher, by its tokens), 0.012 (student, by the time of its server)." in text
    assert "…" not in text


def test_without_gold_the_cost_of_the_teacher_stands_below_the_table():
    table = {"metric": "agreement", "sampleSize": 200, "student": {"score": 0.8}, "cost": {"teacher": 5.0}}
    text = shown({**RESULT, "evaluation": table})
    assert row(text, "Student")[-1] == "0.800"
    assert "1,000 calls cost: 5.00 (teacher, by its tokens)." in text


def test_the_verdict_is_the_first_thing_below_the_table():
    verdict = {
        "kind": "NoBetterThanBaseline",
        "message": "The student is no better.",
        "comparedWith": "shallow",
        "remedy": "MoreTrainRows",
        "nextStep": "Add rows.",
    }
    text = shown({**RESULT, "evaluation": {**RESULT["evaluation"], "verdict": verdict}})
    below = [line for line in text.partition("Shallow ")[2].splitlines()[1:] if line.strip()]
    assert below[:2] == [
        "Verdict: The student is no better.",
        "Next step: Add rows.",
    ]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_table_cuts_nothing_off(width):
    text = shown(RESULT, width)
    assert "…" not in text
    assert row(text, "Teacher")[-1] == "0.81s"


SUMMARIES = {
    **RESULT,
    "evaluation": {
        "metric": "rougeL",
        "sampleSize": 200,
        "partlySupervised": True,
        "judge": "gpt-4o",
        "teacher": {"score": 0.4, "rouge1": 0.51, "rouge2": 0.22, "words": 74.2, "winRate": 0.625, "latencySeconds": 1},
        "baseTeacherPrompt": {
            "score": 0.1,
            "rouge1": 0.2,
            "rouge2": 0.05,
            "promptTokens": 812.3,
            "answerTokens": 611.7,
        },
        "base": {"score": 0.2, "rouge1": 0.31, "rouge2": 0.12, "words": 40, "unreadable": 0.125},
        "student": {
            "score": 0.31,
            "low": 0.29,
            "high": 0.33,
            "rouge1": 0.42,
            "rouge2": 0.17,
            "words": 61.5,
            "winRate": 0.3,
            "entityDensity": 0.134,
            "faithfulness": 0.91,
            "inventedNumbers": 0.045,
        },
        "lead": {"score": 0.28, "rouge1": 0.4, "rouge2": 0.16, "words": 80, "inventedNumbers": 0},
        "pValue": 0.0123,
    },
}


@pytest.mark.parametrize("width", [80, 140])
def test_texts_get_a_second_table(width):
    text = shown(SUMMARIES, width)
    students = [line.split() for line in text.splitlines() if line.strip().startswith("Student")]
    assert students == [
        ["Student", "student", "0.310", "0.29-0.33", "30.0%"],
        ["Student", "student", "0.420", "0.170", "61.5", "0.134", "91.0%", "4.5%"],
    ]
    assert row(text, "Lead") == ["Lead", "-", "0.280"]
    assert "Macro" not in text
    assert "Perplexity" not in text
    assert "…" not in text


def test_lines_about_texts_name_the_judge_the_test_and_the_supervision():
    text = shown(SUMMARIES)
    assert "ROUGE-L on 200 held-out rows, against gold" in text
    assert "p = 0.012 (paired bootstrap)" in text
    assert "Win rate: share of rows on which gpt-4o prefers the answer" in text
    assert "the student is partly supervised" in text
    assert "Lead: the first words of the source" in text
    assert "Majority" not in text


def test_agreement_with_the_teacher_is_called_so():
    table = {**SUMMARIES["evaluation"], "metric": "agreement", "teacher": None}
    text = shown({**SUMMARIES, "evaluation": table})
    assert "Agreement (ROUGE-L) on 200 held-out rows, against the teacher's answers" in text


def test_lines_below_the_table_explain_it():
    text = shown(RESULT)
    assert "Gap closed: 0.90 of the gap between base model and teacher" in text
    assert "p < 0.001 (McNemar)" in text
    assert "120 held-out rows are a small sample" in text
    assert "There is no test split" in text


def test_large_sample_is_not_called_small():
    large = {**RESULT, "evaluation": {**RESULT["evaluation"], "sampleSize": 150}}
    assert "small sample" not in shown(large)


def test_rows_usage_and_files_are_printed():
    text = shown(RESULT)
    assert "Rows: 560 read, 541 kept, 19 rejected: 12 truncated, 7 bad_json." in text
    assert "Teacher: 1,612 requests, 120,345 input tokens, 23,456 output tokens." in text
    assert "runs/conjnli/train-a/model" in text
    assert "runs/conjnli/result.json" in text


def test_cost_cached_and_reasoning_tokens_are_printed_beside_the_tokens():
    usage = {**RESULT["usage"], "cachedInputTokens": 100000, "reasoningTokens": 9000, "cost": 1.6, "currency": "USD"}
    estimate = {"rows": 1, "requests": 1, "inputTokens": 1, "outputTokens": 1, "lowTokens": 1, "highTokens": 1}
    text = shown({**RESULT, "usage": usage, "estimate": {**estimate, "cost": 1.46, "currency": "USD"}}, width=200)
    assert (
        "Teacher: 1,612 requests, 120,345 input tokens (100,000 cached), 23,456 output tokens (9,000 reasoning);"
        " 1.60 USD (1.46 expected)."
    ) in text


def test_run_without_scores_shows_no_table():
    text = shown({**RESULT, "evaluation": None})
    assert "held-out" not in text
    assert "Rows: 560 read" in text


BREAKDOWN = """{"part": "class", "systems": {
    "teacher": {"parts": [{"name": "a [b]", "rows": 7, "precision": 1, "recall": 1, "f1": 1.0},
                          {"name": "rare", "rows": 1, "precision": 0, "recall": 0, "f1": 0.0}]},
    "student": {"parts": [{"name": "a [b]", "rows": 7, "precision": 0.9, "recall": 0.8, "f1": 0.847},
                          {"name": "rare", "rows": 1, "precision": 0, "recall": 0, "f1": 0.0}]}}}"""


def shown_with_breakdown(tmp_path, content):
    (tmp_path / "breakdown.json").write_text(content)
    console = Console(file=io.StringIO(), width=100, highlight=False)
    result = {**RESULT, "files": {"breakdown": "breakdown.json"}}
    show_result(console, RunResult.model_validate(result), tmp_path)
    return console.file.getvalue()


def test_f1_of_each_class_stands_in_a_table_of_its_own(tmp_path):
    text = shown_with_breakdown(tmp_path, BREAKDOWN)
    assert "F1 by class" in text
    assert row(text, "a [b]") == ["a", "[b]", "7", "1.000", "0.847"]
    assert row(text, "rare") == ["rare", "1", "0.000", "0.000"]


def test_of_many_classes_the_most_frequent_are_shown_in_their_order(tmp_path):
    parts = ",".join(f'{{"name": "c{n}", "rows": {n}, "precision": 1, "recall": 1, "f1": 1}}' for n in range(1, 31))
    text = shown_with_breakdown(tmp_path, f'{{"part": "class", "systems": {{"student": {{"parts": [{parts}]}}}}}}')
    assert "F1 by class, the 20 most frequent of 30" in text
    names = re.findall(r"^ *(c[0-9]+) ", text, re.MULTILINE)
    assert names == [f"c{n}" for n in range(11, 31)]


def test_a_broken_breakdown_is_left_out(tmp_path):
    assert "F1 by" not in shown_with_breakdown(tmp_path, "{")


TEXT = {
    "score": 0.61,
    "low": 0.58,
    "high": 0.64,
    "chrf": 0.62,
    "bleu": 0.35,
    "rougeL": 0.55,
    "exact": 0.1,
    "words": 21.0,
}


def test_table_of_texts_names_chrf_and_explains_the_copy_and_the_scores_of_all_rows():
    systems = {"teacher": {**TEXT, "rulesKept": 0.98}, "student": {**TEXT, "rulesKept": 0.9}, "copied": {**TEXT}}
    text = shown({**RESULT, "evaluation": {"sampleSize": 300, "metric": "chrF", "pValue": 0.01, **systems}})
    assert "chrF on 300 held-out rows, against gold" in text
    assert "p = 0.010 (paired bootstrap)" in text
    assert "Copy: the row's last message as the answer." in text
    assert "chrF and BLEU of all rows: the corpus scores, from 0 to 1; the score is the mean of the rows' chrF." in text
    assert "Rules kept: share of rows whose answer keeps all of generation.filters.answerRules." in text
    header, *_ = re.findall(r"^.*chrF .*BLEU.*$", text, re.MULTILINE)
    assert header.split() == ["chrF", "BLEU", "ROUGE", "Rules"]
    assert re.search(r"Student +student +0\.620 +0\.350 +0\.550 +10\.0% +90\.0% +21\.0", text)


def test_agreement_of_texts_names_how_it_is_measured():
    text = shown({**RESULT, "evaluation": {"sampleSize": 300, "metric": "agreement", "student": TEXT}})
    assert "Agreement (chrF) on 300 held-out rows, against the teacher's answers" in text


def test_objects_have_shares_of_valid_and_exact_ones():
    score = {
        "score": 0.812,
        "low": 0.78,
        "high": 0.84,
        "validShare": 0.995,
        "exact": 0.61,
        "precision": 0.9,
        "recall": 0.74,
    }
    evaluation = {"metric": "fieldF1", "sampleSize": 200, "student": score, "majority": {"score": 0.1}, "pValue": 0.2}
    text = shown({**RESULT, "evaluation": evaluation}, width=120)
    assert "Field F1 on 200 held-out rows, against gold" in text
    assert row(text, "Student") == ["Student", "student", "0.812", "0.78-0.84", "99.5%", "61.0%", "0.900", "0.740"]
    assert "Valid: share of replies that are one object of the schema." in text
    assert "p = 0.200 (paired bootstrap)" in text


@pytest.mark.parametrize(("busy", "said"), [(True, "run on cpu, while the machine was busy."), (False, "run on cpu.")])
def test_a_latency_that_was_measured_on_a_busy_machine_says_so(busy, said):
    text = shown({**RESULT, "evaluation": {**RESULT["evaluation"], "busy": busy}})
    assert f"Latency: median of single requests; base model and student {said}" in text
