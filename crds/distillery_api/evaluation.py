"""The result table: how teacher, base model, student and baselines did on the held-out rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import Record


class Score(Record):
    """How one contestant did on the held-out rows. Shares are between 0 and 1."""

    score: float
    """Mean over the rows of what the table's metric gives; a missing or unreadable answer counts as 0."""
    low: float | None = None
    """Lower end of the 95 % interval of the score: Wilson's for a share of right answers, else a bootstrap."""
    high: float | None = None
    """Upper end of the 95 % interval of the score."""
    macro_f1: float | None = None
    """Mean F1 over the labels, where all rows have the same ones."""
    strict: float | None = None
    """Share of rows whose whole reply is exactly the right answer."""
    unreadable: float | None = None
    """Share of rows without a readable answer."""
    rouge1: float | None = None
    """Mean ROUGE-1 (F1) of summaries and conversations."""
    rouge2: float | None = None
    """Mean ROUGE-2 (F1) of summaries and conversations."""
    words: float | None = None
    """Mean length of the readable summaries and conversations, in words."""
    entity_density: float | None = None
    """Mean of named entities a token in the summaries; absent without a model that finds entities."""
    faithfulness: float | None = None
    """Mean share of a summary's entities and numbers that its source names, too."""
    invented_numbers: float | None = None
    """Share of the summaries that name a number which is not in their source."""
    win_rate: float | None = None
    """How often the judge finds the answer better than the known one, asked in both orders; a tie is half a win."""
    perplexity: float | None = None
    """How surprised the model is by the teacher's replies of a conversation, 1 being not at all."""
    prompt_tokens: float | None = None
    """Mean prompt tokens a call."""
    answer_tokens: float | None = None
    """Mean answer tokens a call."""
    latency_seconds: float | None = None
    """Median seconds a call, one call at a time, on the stated device."""


class Evaluation(Record):
    """The result table. All contestants answered the same rows."""

    metric: Annotated[str, Field(max_length=32)] = "accuracy"
    """What the scores are against gold: accuracy, or rougeL for summaries and conversations; agreement, measured in the
    same way, where the rows have no gold and are compared with the teacher's answers."""
    sample_size: int
    """Held-out rows."""
    held_out_from_validation: bool = False
    """Whether the held-out rows were taken from the validation split, because there was no test split."""
    partly_supervised: bool = False
    """Whether training rows were chosen by their gold, so that the student has not learnt from the teacher alone."""
    teacher: Score | None = None
    """The teacher under the elaborate prompt."""
    base_teacher_prompt: Score | None = None
    """The untrained student under the elaborate prompt."""
    base: Score | None = None
    """The untrained student under the short prompt."""
    student: Score | None = None
    """The distilled student under the short prompt."""
    majority: Score | None = None
    """Always the most frequent answer of the training rows, for labels and numbers."""
    shallow: Score | None = None
    """TF-IDF and logistic regression on the same training rows, for labels."""
    lead: Score | None = None
    """The first words of the source, as many as a summary may have."""
    gap_closed: float | None = None
    """(student - baseTeacherPrompt) / (teacher - baseTeacherPrompt); absent where the teacher is no better."""
    relative_gain: float | None = None
    """student / baseTeacherPrompt - 1; absent where baseTeacherPrompt is 0."""
    p_value: float | None = None
    """Student against base: McNemar's exact test of right answers, else a paired bootstrap."""
    judge: Annotated[str, Field(max_length=200)] | None = None
    """The model that the win rates come from."""
    device: Annotated[str, Field(max_length=128)] | None = None
    """The device that the latencies were measured on."""

    @property
    def is_prose(self) -> bool:
        """Whether the answers are texts, more or less alike, rather than right or wrong."""
        return self.student is not None and self.student.rouge1 is not None

    def brief(self) -> Evaluation:
        """The table with scores and their intervals alone."""
        brief = {
            name: Score(score=value.score, low=value.low, high=value.high, rouge1=value.rouge1)
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), Score)
        }
        return self.model_copy(update=brief)
