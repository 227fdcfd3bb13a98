"""The result table: scores of teacher, base model, student and baselines on the held-out rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import LenientModel
from distillery_api.verdict import Verdict

SMALL_SAMPLE = 150
"""Held-out rows. With fewer, the scores are imprecise: the confidence interval is some 16 points wide."""


WORTHWHILE = 0.01
"""A gain of the score that is worth more rows."""


class Score(LenientModel):
    """Figures of one system on the held-out rows. Shares are between 0 and 1."""

    score: float
    """Mean of the metric over the rows, for Extraction F1 over all fields. A missing or unreadable answer counts as
    0."""
    low: float | None = None
    """Lower bound of the 95 % confidence interval of the score: a Wilson interval for accuracy, otherwise a
    bootstrap."""
    high: float | None = None
    """Upper bound of the 95 % confidence interval of the score."""
    macro_f1: float | None = None
    """Macro-averaged F1 over the labels, if all rows have the same labels."""
    micro_f1: float | None = None
    """Micro-averaged F1 over the labels of all rows, where a row may have several."""
    functions: float | None = None
    """Share of rows on which the right functions are called, or none where none is right, for ToolCalling. The score
    also demands the right arguments."""
    argument_f1: float | None = None
    """F1 of the arguments of all calls, for ToolCalling."""
    no_call_precision: float | None = None
    """Of the answers without a call, the share on rows where none is right."""
    no_call_recall: float | None = None
    """Of the rows where no call is right, the share that is answered without one."""
    valid_calls: float | None = None
    """Of the replies that call functions or cannot be read, the share whose calls name tools of the row and fit their
    schemas."""
    strict: float | None = None
    """Share of rows whose whole reply is exactly the correct answer."""
    unreadable: float | None = None
    """Share of rows without a readable answer."""
    chrf: float | None = None
    """chrF of all answers of Text together (the corpus's), from 0 to 1; the score is the mean of the rows'."""
    bleu: float | None = None
    """BLEU of all answers of Text together (the corpus's), from 0 to 1."""
    rouge_l: float | None = None
    """Mean ROUGE-L F1 of the answers of Text."""
    exact: float | None = None
    """Share of the answers that are the reference, white space apart (Text) or by all of their fields (Extraction)."""
    rules_kept: float | None = None
    """Share of rows whose answer keeps all of generation.filters.answerRules."""
    valid_share: float | None = None
    """Share of rows whose reply is one object that fits the schema, for Extraction."""
    precision: float | None = None
    """Of the fields that the answers give, the share with the value of the reference, for Extraction."""
    recall: float | None = None
    """Of the fields that the references give, the share with the same value in the answer, for Extraction."""
    rouge1: float | None = None
    """Mean ROUGE-1 F1 of summaries and conversation replies."""
    rouge2: float | None = None
    """Mean ROUGE-2 F1 of summaries and conversation replies."""
    words: float | None = None
    """Mean length of readable answers in prose, in words."""
    entity_density: float | None = None
    """Mean number of named entities per token of the summaries; absent without an installed spaCy model."""
    faithfulness: float | None = None
    """Mean share of a summary's entities and numbers that are also in its source."""
    invented_numbers: float | None = None
    """Share of summaries that contain a number that is not in their source."""
    win_rate: float | None = None
    """Share of rows on which the judge prefers the answer to the reference answer. Each pair is judged in both orders;
    a tie counts as half a win."""
    perplexity: float | None = None
    """Perplexity of the teacher's replies under this model, for Conversation. Lower is better; 1 is the minimum."""
    prompt_tokens: float | None = None
    """Mean number of input tokens per request."""
    answer_tokens: float | None = None
    """Mean number of output tokens per request."""
    latency_seconds: float | None = None
    """Median latency of a request, in seconds. Base model and student are measured with one request at a time on
    `device`, a verified student through its server; the teacher with its requests in the generate stage."""


class ServingComparison(LenientModel):
    """The student beside the one that is served, on the same held-out rows."""

    hash: Annotated[str, Field(max_length=63)]
    """Input hash of the train stage of the student that was served."""
    better: int | None = None
    """Number of rows on which the new student has the higher score."""
    worse: int | None = None
    """Number of rows on which the new student has the lower score."""
    p_value: float | None = None
    """p-value of the difference: McNemar's exact test for labels and numbers, otherwise a paired bootstrap."""
    difference_low: float | None = None
    """Lower bound of the 95 % confidence interval of the difference, new student minus serving student (bootstrap)."""
    difference_high: float | None = None
    """Upper bound of the 95 % confidence interval of the difference."""
    problem: Annotated[str, Field(max_length=512)] | None = None
    """Why the two could not be compared; there are no figures then."""


class CurvePoint(LenientModel):
    """A student of some of the train rows."""

    rows: int
    """Number of train rows."""
    score: float
    """Its score on the held-out rows."""


class LearningCurve(LenientModel):
    """What fewer train rows give, and what twice the rows promise."""

    points: Annotated[tuple[CurvePoint, ...], Field(max_length=8)] = ()
    """A quarter, a half and all of the train rows, each trained on with as many steps."""
    gain: float | None = None
    """Expected gain of the score with twice the rows: the three errors (1 - score) continued by a power law."""
    gain_low: float | None = None
    """Lower bound of the gain's 95 % interval, by a bootstrap of the held-out rows. The chance in each training comes
    on top."""
    gain_high: float | None = None
    """Upper bound of the interval."""
    problem: Annotated[str, Field(max_length=512)] | None = None
    """Why there is no learning curve; there are no figures then."""

    @property
    def promises_more(self) -> bool:
        """Whether twice the rows are sure to help, as far as the held-out rows can tell."""
        return self.gain is not None and self.gain_low is not None and self.gain >= WORTHWHILE and self.gain_low > 0

    @property
    def is_flat(self) -> bool:
        """Whether twice the rows would hardly help, even at best."""
        return self.gain_high is not None and self.gain_high < 2 * WORTHWHILE

    def sentence(self) -> str:
        """The curve in words, such as `0.610 with 200 train rows, 0.720 with 400, 0.800 with 800; twice the rows
        promise +0.06 (+0.01 to +0.10)`."""
        if self.gain is None or self.gain_low is None or self.gain_high is None:
            return f"none: {self.problem}"
        first, *others = [f"{point.score:.3f} with {point.rows:,}" for point in self.points]
        bounds = f"{self.gain_low:+.2f} to {self.gain_high:+.2f}"
        return f"{', '.join([f'{first} train rows', *others])}; twice the rows promise {self.gain:+.2f} ({bounds})"


class CallCosts(LenientModel):
    """What a thousand calls cost."""

    teacher: float | None = None
    """Of the teacher: the price of the tokens that it took for a held-out row, on average, without any discount for
    cached ones; without gold, the mean of what the generate stage has paid. Absent without pricing."""
    student: float | None = None
    """Of the student: serving.costPerHour at the measured speed of its server. Absent without it, and until the speed
    is measured."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """Currency of the teacher's pricing."""


class GateVerdict(LenientModel):
    """What the quality gate says about the student."""

    met: bool
    """Whether the student meets every bound of evaluation.gate."""
    message: Annotated[str, Field(max_length=1024)]
    """The figures that decided, such as `score 0.58 is below minScore 0.6`."""


class Evaluation(LenientModel):
    """The result table. All systems answered the same rows."""

    metric: Annotated[str, Field(max_length=32)] = "accuracy"
    """Metric of the scores: accuracy against gold, rougeL for Summarization and Conversation, chrF for Text, or fieldF1
    for Extraction; or agreement, which is the same measure against the teacher's answers, if the rows have no gold."""
    sample_size: int
    """Number of held-out rows."""
    held_out_from_validation: bool = False
    """Whether the held-out rows were taken from the validation rows because data.test is not set."""
    partly_supervised: bool = False
    """Whether train rows were filtered by their gold (filters.disagreesWithGold)."""
    teacher: Score | None = None
    """The teacher with the teacher prompt."""
    base_teacher_prompt: Score | None = None
    """The base model with the teacher prompt."""
    base: Score | None = None
    """The base model with the student prompt."""
    student: Score | None = None
    """The student with the student prompt."""
    serving: Score | None = None
    """The student that was served during the evaluation, with its own student prompt; only where the quality gate
    compares the new one with it."""
    majority: Score | None = None
    """Baseline that always gives the most frequent answer of the train rows, for labels, numbers and objects."""
    shallow: Score | None = None
    """Baseline of TF-IDF and logistic regression, trained on the same rows as the student, for labels."""
    lead: Score | None = None
    """Baseline that gives the first maxSummaryWords words of the source, for Summarization."""
    copied: Score | None = None
    """Baseline that gives the row's last user message as the answer, for Text."""
    gap_closed: float | None = None
    """(student - baseTeacherPrompt) / (teacher - baseTeacherPrompt); absent if the teacher is not better than the base
    model, or the student is not significantly better than every baseline (majority, shallow, lead, copied)."""
    relative_gain: float | None = None
    """student / baseTeacherPrompt - 1; absent if baseTeacherPrompt is 0."""
    p_value: float | None = None
    """p-value of the difference between student and base: McNemar's exact test for labels and numbers, otherwise a
    paired bootstrap."""
    serving_comparison: ServingComparison | None = None
    """The student beside the one that was served during the evaluation."""
    learning_curve: LearningCurve | None = None
    """What fewer train rows give, and what twice the rows promise (evaluation.learningCurve)."""
    cost: CallCosts | None = None
    """What a thousand calls of teacher and student cost."""
    judge: Annotated[str, Field(max_length=200)] | None = None
    """Model that judged the win rates."""
    device: Annotated[str, Field(max_length=128)] | None = None
    """Device on which the latencies were measured."""
    busy: bool | None = None
    """Whether the machine was busy with other things while they were measured, so that they say little; absent where
    that is not known."""
    precision: Annotated[str, Field(max_length=16)] | None = None
    """Floating-point precision in which base model and student answered, such as bfloat16. The student is served in
    it."""
    verdict: Verdict | None = None
    """What the figures mean, and the likely next step."""
    gate: GateVerdict | None = None
    """What the quality gate says about the student; absent without evaluation.gate."""

    @property
    def is_partly_right(self) -> bool:
        """Whether an answer may be partly right, as texts and objects may, rather than labels and numbers."""
        return self.similarity is not None

    @property
    def similarity(self) -> str | None:
        """By what the answers are compared if they may be partly right; None for labels and numbers."""
        if self.student is None:
            return None
        marks = {"ROUGE-L": self.student.rouge1, "chrF": self.student.chrf, "Field F1": self.student.valid_share}
        return next((name for name, figure in reversed(marks.items()) if figure is not None), None)

    def served(self, latency_seconds: float) -> Evaluation:
        """The table with the latency of the served student."""
        if self.student is None:
            return self
        return self.model_copy(update={"student": self.student.model_copy(update={"latency_seconds": latency_seconds})})

    def brief(self) -> Evaluation:
        """The table reduced to scores and their intervals."""
        brief = {
            name: Score(
                score=value.score,
                low=value.low,
                high=value.high,
                rouge1=value.rouge1,
                chrf=value.chrf,
                valid_share=value.valid_share,
            )
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), Score)
        }
        return self.model_copy(update=brief)

    def briefest(self) -> Evaluation:
        """The verdict, and the scores of student and teacher."""
        brief = self.brief()
        return Evaluation(
            metric=self.metric,
            sample_size=self.sample_size,
            teacher=brief.teacher,
            student=brief.student,
            verdict=self.verdict,
        )
