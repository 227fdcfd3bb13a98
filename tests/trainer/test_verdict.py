"""What a result table means: one verdict for any table, by paired tests, and the next step that the figures suggest."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillery_api.evaluation import LearningCurve
from distillery_api.spec import Training
from distillery_api.stage_result import EpochLosses, StageResult
from distillery_api.verdict import SENTENCE_LIMIT, Remedy, VerdictKind
from distillery_trainer.evaluation.findings import TrainedOn, findings, trained_on
from distillery_trainer.evaluation.paired_comparison import compare
from distillery_trainer.evaluation.result_table import EvaluationContext, result_table
from distillery_trainer.evaluation.systems import ScoredAnswer, System, SystemReply, held_out_rows
from distillery_trainer.evaluation.verdict import verdict
from distillery_trainer.tasks import TASK_DEFINITIONS
from held_out_rows import held_out, task_definition

LABELS = ["yes", "no", "maybe"]
NLI = task_definition("NLI", LABELS)
WELL_TRAINED = TrainedOn(
    rows=5_000,
    answers={"yes": 1_700, "no": 1_650, "maybe": 1_650},
    steps=1_875,
    losses=(
        EpochLosses(train=0.5, validation=0.3),
        EpochLosses(train=0.2, validation=0.2),
        EpochLosses(train=0.1, validation=0.199),
    ),
    epochs=3,
    learning_rate=0.001,
    rank=32,
)


def gold(row):
    return LABELS[row % 3]


def scored(answers, rows):
    return [
        ScoredAnswer(SystemReply(answer, finished=answer is not None), answer, float(answer == row.gold))
        for answer, row in zip(answers, rows.rows, strict=True)
    ]


def right_on(right, count, shift=0):
    """The answers of a system that is right on so many of the rows, and right elsewhere than one with another shift."""
    return [gold(row) if (row + shift) % count < right else gold(row + 1) for row in range(count)]


def found_for(count=200, trained=WELL_TRAINED, gold_known=True, **answers):
    """The findings of a table in which each system is right on so many rows, or gives these answers."""
    rows = held_out_rows(
        [held_out(f"row {row}", gold=gold(row) if gold_known else None, answer=gold(row)) for row in range(count)],
        "accuracy",
    )
    if not gold_known:
        rows = type(rows)(rows.metric, [held_out(f"row {row}", gold(row), gold(row)) for row in range(count)],
                          rows.references, 0)  # fmt: skip
    systems = {"teacher": count, "baseTeacherPrompt": 0, "base": 0, "student": 0, **answers}
    given = {
        System(name): scored(value if isinstance(value, list) else right_on(value, count), rows)
        for name, value in systems.items()
    }
    return findings(NLI, given, rows, trained, gap_closed=0.75)


def kind_of(**answers):
    return verdict(found_for(**answers)).kind


ONE_ANSWER = ["yes"] * 200

TABLES = [
    # A constant student, whatever it scores.
    ({"teacher": 180, "student": ONE_ANSWER, "majority": ONE_ANSWER, "shallow": 120}, "ConstantAnswers", None),
    ({"teacher": 180, "student": [*["yes"] * 196, "no", "no", "maybe", "no"]}, "ConstantAnswers", None),
    ({"teacher": 180, "student": ["unheard"] * 200, "base": 100}, "ConstantAnswers", None),
    # No readable answer.
    ({"teacher": 180, "student": [None] * 200}, "UnreadableAnswers", None),
    ({"teacher": 180, "student": [None if row % 3 else gold(row) for row in range(200)]}, "UnreadableAnswers", None),
    # Worse than the base model, under either prompt, before anything is said about baselines.
    ({"teacher": 180, "base": 130, "student": 100, "majority": 70}, "WorseThanBase", "base"),
    ({"teacher": 180, "baseTeacherPrompt": 130, "student": 100, "majority": 120}, "WorseThanBase", "baseTeacherPrompt"),
    # At the level of a baseline; the best one is named.
    ({"teacher": 190, "student": 140, "majority": 70, "shallow": 138}, "NoBetterThanBaseline", "shallow"),
    ({"teacher": 190, "student": 138, "majority": 70, "shallow": 140}, "NoBetterThanBaseline", "shallow"),
    ({"teacher": 190, "student": 100, "majority": 100, "shallow": 90}, "NoBetterThanBaseline", "majority"),
    ({"teacher": 190, "student": 100, "majority": 70, "shallow": 160}, "NoBetterThanBaseline", "shallow"),
    ({"teacher": 190, "student": 100, "lead": 101}, "NoBetterThanBaseline", "lead"),
    ({"teacher": 190, "student": 100, "copied": 101}, "NoBetterThanBaseline", "copied"),
    # No better than the base model.
    ({"teacher": 190, "base": 150, "student": 152, "majority": 70}, "NoBetterThanBase", "base"),
    ({"teacher": 190, "baseTeacherPrompt": 150, "student": 150}, "NoBetterThanBase", "baseTeacherPrompt"),
    # The teacher is the ceiling: as good as a baseline, or mostly wrong.
    ({"teacher": 181, "student": 180, "majority": 70, "shallow": 180}, "CeilingOfTeacher", "teacher"),
    ({"teacher": 80, "student": 79, "majority": 40}, "CeilingOfTeacher", "teacher"),
    # Beside the teacher.
    ({"teacher": 185, "student": 183, "base": 60, "majority": 70, "shallow": 120}, "WithinNoiseOfTeacher", "teacher"),
    ({"teacher": 185, "student": 185, "base": 60}, "WithinNoiseOfTeacher", "teacher"),
    ({"teacher": 160, "student": 180, "base": 60, "majority": 70}, "BeatsTeacher", "teacher"),
    ({"teacher": 195, "student": 160, "base": 60, "majority": 70, "shallow": 120}, "BelowTeacher", "teacher"),
    ({"teacher": 80, "student": 60, "base": 10, "majority": 20}, "BelowTeacher", "teacher"),
    # Without gold nothing is said about the teacher.
    ({"gold_known": False, "student": 170, "base": 60, "majority": 70}, "AgreementOnly", None),
    ({"gold_known": False, "student": 70, "base": 60, "majority": 70}, "NoBetterThanBaseline", "majority"),
    ({"gold_known": False, "student": ONE_ANSWER}, "ConstantAnswers", None),
    # Few rows.
    ({"count": 19, "teacher": 19, "student": 18}, "TooFewRows", None),
    ({"count": 20, "teacher": 20, "student": 20}, "WithinNoiseOfTeacher", "teacher"),
    ({"count": 30, "teacher": 29, "student": 25, "base": 5, "majority": 10}, "TooFewRows", "teacher"),
    ({"count": 40, "teacher": 39, "student": right_on(24, 40, 13), "majority": 20}, "TooFewRows", "majority"),
    ({"count": 40, "teacher": 39, "student": right_on(24, 40, 13), "base": 20}, "TooFewRows", "base"),
]


@pytest.mark.parametrize(("table", "kind", "system"), TABLES)
def test_a_table_has_the_verdict_that_a_team_must_draw_from_it(table, kind, system):
    made = verdict(found_for(**table))
    assert (made.kind, made.compared_with) == (kind, system)


def test_every_verdict_stands_in_the_table_above():
    assert {kind for _, kind, _ in TABLES} == set(VerdictKind)


def test_a_uniform_answer_is_right_where_the_references_are_as_uniform():
    rows = held_out_rows([held_out(f"row {row}", "yes", "yes") for row in range(60)], "accuracy")
    right = scored(["yes"] * 60, rows)
    wrong = scored(["no"] * 60, rows)
    systems = {System.TEACHER: right, System.BASE_TEACHER_PROMPT: wrong, System.BASE: wrong, System.STUDENT: right}
    assert verdict(findings(NLI, systems, rows, WELL_TRAINED)).kind == "WithinNoiseOfTeacher"


def test_a_baseline_that_is_better_is_said_to_be():
    made = verdict(found_for(teacher=190, student=100, lead=120))
    assert made.message == (
        "The student is worse than the first words of the source, which needs no language model: 0.500 against 0.600."
    )


# --- sentences


def test_sentences_state_the_figures_that_decided():
    below = verdict(found_for(teacher=195, student=160, base=60, majority=70))
    assert below.message == (
        "The student has learned, and is below its teacher: 0.800 against 0.975; it closes 0.75 of the gap between base"
        " model and teacher."
    )
    noise = verdict(found_for(teacher=185, student=183, base=60))
    assert noise.message == (
        "200 held-out rows show no difference between the student and its teacher: 0.915 against 0.925; the true one"
        " lies between -0.03 and +0.01."
    )
    assert (noise.remedy, noise.next_step) == (
        "Serve",
        "Serve it. More training gains little; a smaller student may do as well.",
    )
    constant = verdict(found_for(teacher=185, student=ONE_ANSWER))
    assert constant.message == (
        'The student gives the answer "yes" to nearly every row: it does not tell rows apart, and its score of 0.335'
        " says only how often that is right."
    )


def test_without_gold_no_sentence_says_that_the_teacher_is_right_or_wrong():
    made = verdict(found_for(gold_known=False, student=170, base=60))
    assert made.message == (
        "The student has learned to answer as its teacher does: agreement 0.850. No held-out row has gold, so this does"
        " not say whether their answers are right."
    )
    assert made.remedy == "AddGold"


# --- the gap


@pytest.mark.parametrize(
    ("table", "beats"),
    [
        ({"student": 160, "majority": 70, "shallow": 120}, True),
        ({"student": 140, "majority": 70, "shallow": 138}, False),
        ({"student": 100, "majority": 70, "shallow": 120}, False),
        ({"student": ONE_ANSWER, "majority": right_on(0, 200)}, False),
        ({"student": 160}, True),
    ],
)
def test_a_student_beats_the_baselines_where_it_is_significantly_better_than_the_best(table, beats):
    assert found_for(**table).beats_baselines is beats


@pytest.mark.parametrize(("shallow", "gap"), [(120, 0.7778), (158, None)])
def test_the_table_states_the_gap_only_for_a_student_that_beats_the_baselines(shallow, gap):
    rows = held_out_rows([held_out(f"row {row}", gold(row), gold(row)) for row in range(200)], "accuracy")
    right = {"teacher": 200, "baseTeacherPrompt": 20, "base": 20, "student": 160, "majority": 67, "shallow": shallow}
    answers = {System(name): scored(right_on(count, 200), rows) for name, count in right.items()}
    table = result_table(NLI, answers, rows, EvaluationContext("cpu", "float32", trained_on=WELL_TRAINED))
    assert table.gap_closed == gap
    assert table.verdict.kind == ("BelowTeacher" if gap else "NoBetterThanBaseline")


# --- the next step

BELOW = {"teacher": 195, "student": 160, "base": 60, "majority": 70, "shallow": 120}


def changed(**changes):
    return TrainedOn(**{**vars(WELL_TRAINED), **changes})


def losses(*epochs):
    """By epoch: the loss on the train rows, that on the validation rows and, where it is known, their score."""
    return tuple(EpochLosses(train=each[0], validation=each[1], score=(*each, None)[2]) for each in epochs)


OVER_TIME = {"planned_steps": 2_000, "max_duration": "10m"}
LEARNT_BY_HEART = losses((0.6, 0.4), (0.3, 0.3), (0.1, 0.35), (0.02, 0.5))

PROMISING = LearningCurve(
    points=({"rows": 1_250, "score": 0.5}, {"rows": 2_500, "score": 0.7}, {"rows": 5_000, "score": 0.8}),
    gain=0.08,
    gain_low=0.05,
    gain_high=0.1,
)
FLAT = PROMISING.model_copy(update={"gain": 0.004, "gain_low": -0.01, "gain_high": 0.012})

STEPS = [
    (BELOW, changed(rows=100, steps=39), "MoreEpochs", "set training.epochs to 12 instead of 3"),
    (
        BELOW,
        changed(rows=100, steps=39, searched={"epochs": (2, 3)}),
        "MoreEpochs",
        "add 12 to training.search.epochs, of which 3 was the best",
    ),
    (BELOW, changed(rows=100, steps=1, epochs=1), "MoreEpochs",
     "The training took 1 step, and small students need 150 or more: lower training.batchSize."),
    (BELOW, changed(losses=losses((0.9, 0.8), (0.6, 0.5)), epochs=60), "MoreEpochs", "epochs to 100 instead of 60"),
    (BELOW, changed(losses=losses((0.9, 0.8), (0.6, 0.5)), epochs=100), "LargerStudent", "a larger base model"),
    (BELOW, changed(rows=100, steps=39, **OVER_TIME), "MoreTime",
     "training.maxDuration (10m) ended the training after 39 of 2,000 steps: raise it to 8h33m, or train on"),
    (BELOW, changed(steps=1_000, losses=losses((0.9, 0.8), (0.6, 0.5)), **OVER_TIME), "MoreTime", "raise it to 20m,"),
    (BELOW, changed(steps=1_000, losses=(), searched={"ranks": (8, 16)}, **OVER_TIME), "MoreTime", "fewer values in"),
    (BELOW, changed(rows=300, losses=LEARNT_BY_HEART, **OVER_TIME), "MoreTrainRows", "by heart"),
    (BELOW, changed(rows=400, steps=39, searched={"epochs": (3, 20)}), "MoreTrainRows", "learned from 400 rows"),
    (
        BELOW,
        changed(losses=losses((0.9, 0.8), (1.4, 1.5)), searched={"learningRates": (0.001, 0.003)}),
        "LowerLearningRate",
        "add 0.00033 to training.search.learningRates, of which 0.001 was the best",
    ),
    (BELOW, changed(losses=losses((0.9, 0.8), (0.6, 0.5))), "MoreEpochs", "from 0.800 to 0.500"),
    (BELOW, changed(losses=losses((0.9, 0.8, 0.5), (0.6, 0.7, 0.6))), "MoreEpochs", "rose in the last epoch, to 0.600"),
    (BELOW, changed(losses=losses((0.9, 0.8, 0.6), (0.6, 0.5, 0.6))), "LargerStudent", "a larger base model"),
    (BELOW, changed(losses=losses((0.5, 0.3, 0.9), (0.1, 0.6, 0.8))), "MoreTrainRows", "After epoch 1 of 2"),
    (BELOW, changed(losses=losses((0.5, 0.3, 0.8), (0.1, 0.6, 0.81))), "LargerStudent", "a larger base model"),
    (BELOW, changed(losses=losses((0.9, 0.8)), epochs=1), "MoreEpochs", "saw each row once"),
    (BELOW, changed(losses=losses((0.9, 0.8), (1.4, 1.5))), "LowerLearningRate", "from 0.001 to 0.00033"),
    (BELOW, changed(rows=300, losses=LEARNT_BY_HEART, epochs=4), "MoreTrainRows", "learns its 300 rows by heart"),
    (BELOW, changed(rows=400), "MoreTrainRows", "learned from 400 rows: try 800"),
    (BELOW, changed(learning_curve=PROMISING), "MoreTrainRows", "Add rows: 0.500 with 1,250 train rows"),
    (BELOW, changed(learning_curve=PROMISING, rows=100, steps=39), "MoreEpochs", "set training.epochs"),
    (BELOW, changed(learning_curve=FLAT, rows=300, losses=LEARNT_BY_HEART, rank=8), "HigherRank", "to 16"),
    (BELOW, changed(learning_curve=LearningCurve(problem="none"), rows=400), "MoreTrainRows", "try 800"),
    (BELOW, changed(rank=8), "HigherRank", "training.lora.rank to 16 instead of 8"),
    (BELOW, WELL_TRAINED, "LargerStudent", "a larger base model"),
    (BELOW, changed(rank=None), "LargerStudent", "a larger base model"),
    (BELOW, changed(answers={"yes": 4_000, "no": 997, "maybe": 3}), "BalanceAnswers", 'the rarest "maybe" 3'),
    (BELOW, TrainedOn(rows=0), "MoreTrainRows", "0 rows"),
    ({**BELOW, "teacher": 90, "student": 60, "base": 5, "majority": 20, "shallow": 30}, WELL_TRAINED, "BetterTeacher",
     "The teacher's score is 0.450"),
    ({"teacher": 190, "student": ONE_ANSWER}, changed(answers={"yes": 4_500, "no": 500}), "BalanceAnswers",
     '4,500 of 5,000 training rows have the answer "yes"'),
    ({"teacher": 190, "student": ONE_ANSWER}, changed(rows=100, steps=100, epochs=1), "MoreEpochs",
     "The training took 100 steps"),
    ({"teacher": 181, "student": 180, "majority": 70, "shallow": 180}, WELL_TRAINED, "UseBaseline",
     "If a score of 0.900 is enough, use the baseline shallow"),
    ({"teacher": 131, "student": 130, "majority": 70, "shallow": 130}, WELL_TRAINED, "BetterTeacher",
     "The teacher's score is 0.655"),
    ({"teacher": 110, "base": 130, "student": 100}, WELL_TRAINED, "BetterTeacher",
     "(0.550) is no better than the base model (0.650)"),
    ({"teacher": 190, "base": 130, "student": 100}, WELL_TRAINED, "LowerLearningRate", "from 0.001 to 0.00033"),
    ({"teacher": 152, "base": 150, "student": 151}, WELL_TRAINED, "UseBaseModel", "as good as the teacher already"),
    ({"teacher": 190, "student": [None] * 200}, WELL_TRAINED, "ReadPredictions", "predictions.jsonl"),
    ({**BELOW, "student": [None if row < 30 else gold(row) for row in range(200)]}, WELL_TRAINED, "ReadPredictions",
     "15% of the student's replies hold no readable answer, and 15% are cut off"),
    ({"gold_known": False, "student": 170, "base": 60}, changed(rows=100, steps=39), "MoreEpochs", "39 steps"),
    ({"count": 30, "teacher": 29, "student": 25, "base": 5}, WELL_TRAINED, "MoreHeldOutRows", "about 150 "),
]  # fmt: skip


@pytest.mark.parametrize(("table", "trained", "remedy", "words"), STEPS)
def test_the_next_step_is_what_the_figures_show(table, trained, remedy, words):
    made = verdict(found_for(**{"trained": trained, **table}))
    assert made.remedy == remedy
    assert words in made.next_step


def test_every_remedy_stands_in_the_table_above():
    assert {remedy for _, _, remedy, _ in STEPS} | {"Serve", "AddGold"} == set(Remedy)


def test_how_the_student_was_trained_is_read_from_the_manifest_the_stage_and_the_rows():
    figures = {"steps": 40, "trainLoss": 0.1, "validationLoss": 0.2, "trainableParameters": 9, "device": "cpu"}
    figures |= {"seconds": 1.5, "losses": [{"train": 0.1, "validation": 0.2}], "plannedSteps": 80}
    result = StageResult.model_validate(
        {"stage": "train", "folder": "train-0123456789", "state": "Done", "training": figures}
    )
    made = trained_on(Training(epochs=2, learning_rate=0.01, max_duration="2m"), result, ["yes"] * 8 + ["no"] * 2)
    assert made == TrainedOn(10, {"yes": 8, "no": 2}, 40, 80, "2m", losses((0.1, 0.2)), 2, 0.01, 8)
    assert trained_on(Training(method="Full"), None, ["72", "3", "4"]) == TrainedOn(3, learning_rate=0.0003)


# --- comparing


def test_two_that_never_differ_are_known_the_less_precisely_the_fewer_rows():
    same = [1.0] * 5
    few, many = compare(same, same), compare(same * 20, same * 20)
    assert (few.difference, few.p_value, few.is_alike, few.is_no_better) == (0.0, 1.0, False, True)
    assert (many.is_alike, round(many.high, 3)) == (True, 0.019)


def test_the_interval_of_a_difference_is_that_of_agresti_and_min():
    # 8 rows that only the first has right, 2 that only the second has, of 98: (8 - 2) / 100 +- 1.96 * 0.0326.
    made = compare([1.0] * 8 + [0.0] * 2 + [1.0] * 88, [0.0] * 8 + [1.0] * 2 + [1.0] * 88)
    assert (round(made.difference, 4), round(made.low, 4), round(made.high, 4)) == (0.0612, -0.0039, 0.1239)
    assert round(made.p_value, 4) == 0.1094


def test_similarities_are_compared_by_a_bootstrap():
    made = compare([0.5, 0.6, 0.7] * 20, [0.4, 0.5, 0.5] * 20)
    assert made.is_better
    assert 0.1 < made.low < made.difference < made.high < 0.16


# --- any table

SHARE = st.floats(0, 1)
SYSTEMS = [system for system in System if system is not System.SERVING]


@st.composite
def tables(draw):
    count = draw(st.integers(1, 30))
    rows = held_out_rows(
        [held_out(f"row {row}", answer="x", gold=draw(st.none() | st.sampled_from(["x", ["x", "y"]])))
         for row in range(count)],
        "rougeL",
    )  # fmt: skip
    present = {System.TEACHER, System.BASE, System.BASE_TEACHER_PROMPT, System.STUDENT}
    present |= draw(st.sets(st.sampled_from(SYSTEMS)))
    value = draw(st.sampled_from([SHARE, st.sampled_from([0.0, 1.0]), st.just(0.5)]))
    answer = st.none() | st.sampled_from(["x", "y", "a" * 500, "\x1b[31m\u202e", ""])
    answers = {
        system: [ScoredAnswer(SystemReply("reply"), draw(answer), draw(value)) for _ in rows.rows]
        for system in SYSTEMS
        if system in present
    }
    return answers, rows


TRAININGS = st.builds(
    TrainedOn,
    rows=st.integers(0, 10**6),
    answers=st.dictionaries(st.text(max_size=400), st.integers(1, 10**6), max_size=5),
    steps=st.none() | st.integers(0, 10**6),
    losses=st.lists(st.builds(EpochLosses, train=st.floats(0, 20), validation=st.floats(0, 20)), max_size=5),
    epochs=st.integers(1, 100),
    learning_rate=st.floats(1e-9, 1),
    rank=st.none() | st.integers(1, 512),
)


NO_GAP = {"ConstantAnswers", "NoBetterThanBaseline"}
ABOUT_THE_TEACHER = {"CeilingOfTeacher", "BelowTeacher", "WithinNoiseOfTeacher", "BeatsTeacher"}


@pytest.mark.parametrize("task", [NLI, task_definition("Conversation")])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), trained=TRAININGS)
def test_any_table_has_exactly_one_verdict_with_two_short_sentences(task, table, trained):
    answers, rows = table
    found = findings(task, answers, rows, trained)
    made = verdict(found)
    assert made.kind in VerdictKind
    assert all(0 < len(sentence.encode()) <= SENTENCE_LIMIT for sentence in (made.message, made.next_step))
    assert not (made.kind in NO_GAP and found.beats_baselines)
    assert not (made.kind in ABOUT_THE_TEACHER and rows.measures_agreement)


SCHEMA = ("Extraction",)
"""Tasks that need a schema."""


@pytest.mark.parametrize("task", TASK_DEFINITIONS)
@pytest.mark.parametrize("answer", ["yes", '{"name": "a"}', "[]", ""])
def test_every_task_has_verdicts(task, answer):
    generation = {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}} if task in SCHEMA else {}
    definition = task_definition(task, LABELS, **generation)
    rows = held_out_rows([held_out(f"row {row}", gold=["yes", "no"], answer=answer) for row in range(30)], "accuracy")
    same = [ScoredAnswer(SystemReply(answer), answer, 0.0)] * 30
    answers = dict.fromkeys((System.TEACHER, System.BASE_TEACHER_PROMPT, System.BASE, System.STUDENT), same)
    assert verdict(findings(definition, answers, rows, WELL_TRAINED)).kind in VerdictKind
