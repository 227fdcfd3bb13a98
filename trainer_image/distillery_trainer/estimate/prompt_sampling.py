"""The tokens of teacher and judge prompts, counted for an even sample of the rows and scaled up to all rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.token_estimate import PICTURE_TOKENS
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.estimate.forecast import ExpectedUsage, Forecast, ModelUsage
from distillery_trainer.estimate.token_counting import counter_for
from distillery_trainer.estimate.typical_answers import JUDGE_REPLY_TOKENS, TypicalAnswers
from distillery_trainer.filters.llm_judge import PARAMETERS, judge_messages
from distillery_trainer.tasks import TaskDefinition

SAMPLE_LIMIT = 1000
"""Maximum number of rows of a split whose prompts are counted."""
_HELD_OUT = "test"
_PICTURES = f"each picture is taken to be {PICTURE_TOKENS:,} tokens"
_WITH_JUDGE = "requests to the judge are included"


class PromptSampler:
    """`add` the rows one by one, then get the `forecast` of what they will use."""

    def __init__(self, config: RunConfig, task: TaskDefinition) -> None:
        self._task, self._generation = task, config.generation
        self._counter = counter_for(config)
        self._typical_answers = TypicalAnswers(config, task, self._counter)
        self._teacher_samples: defaultdict[str, _EvenSample] = defaultdict(_EvenSample)
        self._judge_samples: defaultdict[str, _EvenSample] = defaultdict(_EvenSample)
        self.longest_row = (0.0, 0.0)
        """Tokens of the teacher prompt and of the typical answer of the longest row among those that were counted."""
        self.sees_pictures = False
        """Whether any row has pictures."""

    def add(self, row: Row, split: str) -> None:
        """Add a row that goes to `split`, or may go there."""
        self.sees_pictures = self.sees_pictures or bool(pictures_of(row.messages))
        self._teacher_samples[split].add(lambda: self.teacher_usage(row, split))
        if self._is_judged(split):
            self._judge_samples[split].add(lambda: self.judge_usage(row, split))

    def forecast(self, counts: Mapping[str, int] | None = None) -> Forecast:
        """The expected usage for this number of rows of each split; by default, for all that were added."""
        if counts is None:
            counts = {split: sample.rows for split, sample in self._teacher_samples.items()}
        teacher = _scaled_up(self._teacher_samples, counts)
        judge = _scaled_up(self._judge_samples, counts)
        return Forecast(
            sum(counts.values()),
            ExpectedUsage(teacher, teacher.requests * self._task.max_tokens),
            ExpectedUsage(judge, judge.requests * PARAMETERS["max_tokens"]),
            margin=self._counter.margin,
            basis=self._counter.basis,
            notes=self._notes(),
        )

    def count_prompt_tokens(self, messages: list[Message]) -> float:
        """Tokens of a prompt, counted as for the rows."""
        return self._counter.count_messages(messages)

    def count_tokens(self, text: str) -> float:
        """Tokens of a text."""
        return self._counter.count(text)

    def teacher_usage(self, row: Row, split: str) -> ModelUsage:
        """What one row is expected to use of the teacher."""
        usage = sum(self._requests(row, split), ModelUsage())
        return usage if split == _HELD_OUT else usage.scaled(self._generation.samples)

    def judge_usage(self, row: Row, split: str) -> ModelUsage:
        """What one row is expected to use of the judge, for its last answer, which does not exist yet."""
        if not self._is_judged(split):
            return ModelUsage()
        prompt = self._counter.count_messages(judge_messages(self._task, row, ""))
        return ModelUsage(1, prompt + self._typical_answers.answer_tokens(row, row.reply), JUDGE_REPLY_TOKENS)

    def _is_judged(self, split: str) -> bool:
        return self._generation.judge is not None and split != _HELD_OUT

    def _requests(self, row: Row, split: str) -> Iterator[ModelUsage]:
        """Each request for a row. Earlier answers are the existing ones, since the teacher's do not exist yet."""
        if split == _HELD_OUT:
            if row.reply is None or not row.keeps_existing_replies:
                yield self._request(self._task.teacher_messages(row), row, row.reply)
            return
        answers: list[str] = []
        while (messages := self._task.next_request(row, answers)) is not None:
            existing_reply = _existing_reply(row, len(answers))
            if existing_reply is None or not row.keeps_existing_replies:
                yield self._request(messages, row, existing_reply)
            answers.append(existing_reply or "")

    def _request(self, messages: list[Message], row: Row, existing_reply: str | None) -> ModelUsage:
        prompt = self._counter.count_messages(messages)
        self.longest_row = max(self.longest_row, (prompt, self._typical_answers.answer_tokens(row, existing_reply)))
        return ModelUsage(1, prompt, self._typical_answers.reply_tokens(row, existing_reply))

    def _notes(self) -> tuple[str, ...]:
        complete = all(sample.is_complete for sample in self._teacher_samples.values())
        return (
            *(() if complete else (f"an even sample of at most {SAMPLE_LIMIT:,} rows per split was counted",)),
            *((_PICTURES,) if self.sees_pictures else ()),
            *((_WITH_JUDGE,) if self._generation.judge else ()),
        )


def _scaled_up(samples: Mapping[str, _EvenSample], counts: Mapping[str, int]) -> ModelUsage:
    """The usage of this number of rows of each split, estimated from the samples."""
    means = (samples[split].mean.scaled(rows) for split, rows in counts.items() if split in samples)
    return sum(means, ModelUsage())


def _existing_reply(row: Row, turn: int) -> str | None:
    replies = row.existing_replies
    return replies[turn] if turn < len(replies) else None


class _EvenSample:
    """The usage of every n-th row; n doubles whenever there would be more than SAMPLE_LIMIT."""

    def __init__(self) -> None:
        self._sample: list[ModelUsage] = []
        self._step = 1
        self.rows = 0
        """Rows so far, whether sampled or not."""

    def add(self, usage: Callable[[], ModelUsage]) -> None:
        """Add the next row; `usage` is called only if the row is sampled."""
        if self.rows % self._step == 0:
            self._sample.append(usage())
            if len(self._sample) > SAMPLE_LIMIT:
                self._sample = self._sample[::2]
                self._step *= 2
        self.rows += 1

    @property
    def is_complete(self) -> bool:
        """Whether every row was sampled."""
        return self._step == 1

    @property
    def mean(self) -> ModelUsage:
        """The mean usage of a row."""
        return sum(self._sample, ModelUsage()).scaled(1 / len(self._sample))
