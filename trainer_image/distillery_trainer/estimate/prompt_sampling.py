"""The real prompts of teacher and judge for an even sample of the rows, counted and scaled up to all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from distillery_api.run_config import RunConfig
from distillery_trainer.data.records import Example, Message
from distillery_trainer.estimate.forecast import Calls, Expected, ModelLoad
from distillery_trainer.estimate.token_counting import counter_for
from distillery_trainer.estimate.typical_answers import JUDGEMENT_TOKENS, TypicalAnswers
from distillery_trainer.filters.llm_judge import PARAMETERS, judge_messages
from distillery_trainer.tasks import TaskDefinition

SAMPLE_LIMIT = 1000
"""Rows of a split whose prompts are counted at most."""
_HELD_OUT = "test"
_WITH_JUDGE = "the judge's calls are in it"


class PromptSampler:
    """Sees the rows one by one, and knows then what asking them should come to."""

    def __init__(self, config: RunConfig, task: TaskDefinition) -> None:
        self._task, self._generation = task, config.generation
        self._counter = counter_for(config)
        self._typical = TypicalAnswers(config, task, self._counter)
        self._by_split: defaultdict[str, _EvenSample] = defaultdict(_EvenSample)
        self._judged: defaultdict[str, _EvenSample] = defaultdict(_EvenSample)

    def look(self, example: Example, split: str) -> None:
        """See a row that goes to `split`, or may go there."""
        self._by_split[split].offer(lambda: self.calls(example, split))
        if self._is_judged(split):
            self._judged[split].offer(lambda: self.judge_calls(example, split))

    def expected(self, counts: Mapping[str, int] | None = None) -> Expected:
        """What asking so many rows of each split should come to; by default, all that were seen."""
        if counts is None:
            counts = {split: sample.seen for split, sample in self._by_split.items()}
        calls = _scaled_up(self._by_split, counts)
        judged = _scaled_up(self._judged, counts)
        return Expected(
            sum(counts.values()),
            ModelLoad(calls, calls.requests * self._task.max_tokens),
            ModelLoad(judged, judged.requests * PARAMETERS["max_tokens"]),
            margin=self._counter.margin,
            basis=self._counter.basis,
            notes=self._notes(),
        )

    def count(self, messages: list[Message]) -> float:
        """Tokens of a prompt, counted as the rows' are."""
        return self._counter.count_messages(messages)

    def count_text(self, text: str) -> float:
        """Tokens of a text."""
        return self._counter.count(text)

    def calls(self, example: Example, split: str) -> Calls:
        """What the teacher should be asked for one row."""
        once = sum(self._requests(example, split), Calls())
        return once if split == _HELD_OUT else once.times(self._generation.samples)

    def judge_calls(self, example: Example, split: str) -> Calls:
        """What the judge should be asked for one row: for its last answer, which is not there yet."""
        if not self._is_judged(split):
            return Calls()
        prompt = self._counter.count_messages(judge_messages(self._task, example, ""))
        return Calls(1, prompt + self._typical.answer_tokens(example, example.reply), JUDGEMENT_TOKENS)

    def _is_judged(self, split: str) -> bool:
        return self._generation.judge is not None and split != _HELD_OUT

    def _requests(self, example: Example, split: str) -> Iterator[Calls]:
        """Each request for a row, after the answers that the row holds: the teacher's are not there yet."""
        if split == _HELD_OUT:
            if example.reply is None or not example.keeps_replies:
                yield self._request(self._task.teacher_messages(example), example, example.reply)
            return
        answers: list[str] = []
        while (messages := self._task.next_request(example, answers)) is not None:
            held = _held(example, len(answers))
            if held is None or not example.keeps_replies:
                yield self._request(messages, example, held)
            answers.append(held or "")

    def _request(self, messages: list[Message], example: Example, held: str | None) -> Calls:
        return Calls(1, self._counter.count_messages(messages), self._typical.reply_tokens(example, held))

    def _notes(self) -> tuple[str, ...]:
        complete = all(sample.is_complete for sample in self._by_split.values())
        return (
            *(() if complete else (f"of each split an even sample of at most {SAMPLE_LIMIT:,} rows was counted",)),
            *((_WITH_JUDGE,) if self._generation.judge else ()),
        )


def _scaled_up(samples: Mapping[str, _EvenSample], counts: Mapping[str, int]) -> Calls:
    """What so many rows of each split need, judging by the samples."""
    means = (samples[split].mean.times(rows) for split, rows in counts.items() if split in samples)
    return sum(means, Calls())


def _held(example: Example, turn: int) -> str | None:
    replies = example.held_replies
    return replies[turn] if turn < len(replies) else None


class _EvenSample:
    """Every n-th row of a stream, where n doubles whenever there would be more than SAMPLE_LIMIT."""

    def __init__(self) -> None:
        self._kept: list[Calls] = []
        self._step = 1
        self.seen = 0
        """Rows seen so far."""

    def offer(self, measure: Callable[[], Calls]) -> None:
        """See the next row; `measure` is called where it is taken."""
        if self.seen % self._step == 0:
            self._kept.append(measure())
            if len(self._kept) > SAMPLE_LIMIT:
                self._kept = self._kept[::2]
                self._step *= 2
        self.seen += 1

    @property
    def is_complete(self) -> bool:
        """Whether every row was taken."""
        return self._step == 1

    @property
    def mean(self) -> Calls:
        """What one row needs."""
        return sum(self._kept, Calls()).times(1 / len(self._kept))
