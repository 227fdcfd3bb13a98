"""One row on its way: asked turn by turn, read, asked again where the reply cannot be used, voted on, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from distillery_api.run import RunConfig
from distillery_trainer.filters.answer_judge import AnswerJudge, Asked
from distillery_trainer.filters.checks import AnswerChecks
from distillery_trainer.filters.judgement import Judgement, Rejection, Verdict, judge
from distillery_trainer.filters.votes import vote
from distillery_trainer.prompts import TaskPrompt, Turn
from distillery_trainer.prompts.replies import asked_again
from distillery_trainer.records import Example, Message
from distillery_trainer.teachers.journal import Reply
from distillery_trainer.teachers.retries import Failure


@dataclass(slots=True)
class Said:
    """What the teacher said to one request, read."""

    judgement: Judgement
    outcome: Reply | Failure

    @property
    def reply(self) -> Reply | None:
        """The reply, where there is one."""
        return self.outcome if isinstance(self.outcome, Reply) else None

    def rejection(self) -> Rejection:
        """Why there is no answer."""
        verdict = Verdict(self.judgement.reason or "", self.judgement.message)
        failure = self.outcome if isinstance(self.outcome, Failure) else None
        return Rejection(verdict, unanswered=True, failure=failure, reply=self.reply)


@dataclass(slots=True)
class Answered:
    """A row with an answer for each of its turns."""

    answers: list[str] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)


class RowPipeline:
    """From a row to what the student learns of it."""

    def __init__(self, config: RunConfig, prompt: TaskPrompt, teacher: Asked, answer_judge: AnswerJudge | None) -> None:
        self._generation = config.generation
        self._prompt, self._teacher = prompt, teacher
        self._checks = AnswerChecks(config, prompt)
        self._judge = answer_judge

    async def learn(self, example: Example) -> list[Turn] | Rejection:
        """What the student learns of a train or validation row, or why it learns nothing of it."""
        if verdict := self._checks.row_verdict(example):
            return Rejection(verdict)
        answered = await self._answer_all_turns(example)
        if isinstance(answered, Rejection):
            return answered
        turns = self._turns(example, answered)
        if verdict := await self._verdict(example, answered.answers, turns[-1]):
            return Rejection(verdict, reply=answered.said[-1].reply)
        return turns

    async def hold_out(self, example: Example) -> Said:
        """The teacher's one answer to a held-out row: no second try, as the other contestants have none.

        Where train rows are sampled several times for a vote, it is as cool as a single sample.
        """
        if said := self._held(example, len(example.held_replies) - 1):
            return said
        messages = self._prompt.teacher_messages(example)
        return self._read(example, await self._teacher.ask(messages, temperature=self._generation.held_out_temperature))

    # --- asking

    async def _answer_all_turns(self, example: Example) -> Answered | Rejection:
        row = Answered()
        while (messages := self._prompt.next_request(example, row.answers)) is not None:
            said = self._held(example, len(row.answers)) or await self._decide(example, messages)
            if isinstance(said, Rejection):
                return said
            if said.judgement.answer is None:
                return said.rejection()
            row.said.append(said)
            row.answers.append(said.judgement.answer)
        return row

    def _held(self, example: Example, turn: int) -> Said | None:
        """The answer that the row holds, where it is taken as the teacher's."""
        held = example.held_replies if example.keeps_replies else []
        text = held[turn] if turn < len(held) else None
        if text is None:
            return None
        reply = Reply(content=text, finish_reason="stop")
        return Said(judge(reply, self._prompt, example.text, held=True), reply)

    async def _decide(self, example: Example, messages: list[Message]) -> Said | Rejection:
        """The answer that most samples agree on, or the one there is."""
        first = await self._ask_twice(example, messages, 0)
        if self._generation.samples == 1:
            return first
        others = [await self._ask_twice(example, messages, sample) for sample in range(1, self._generation.samples)]
        samples = [first, *others]
        if all(said.judgement.answer is None for said in samples):
            return samples[-1]
        winner = vote([said.judgement for said in samples], self._prompt.ballot, self._generation.filters.min_agreement)
        if isinstance(winner, Verdict):
            return Rejection(winner, reply=samples[-1].reply)
        return next(said for said in samples if said.judgement.answer == winner)

    async def _ask_twice(self, example: Example, messages: list[Message], sample: int) -> Said:
        """Ask, and once more with what was wrong, where the reply cannot be read."""
        said = self._read(example, await self._teacher.ask(messages, sample=sample))
        if said.reply is None or not said.judgement.worth_another_try:
            return said
        again = asked_again(messages, said.reply.content, said.judgement.message)
        return self._read(example, await self._teacher.ask(again, sample=sample))

    def _read(self, example: Example, outcome: Reply | Failure) -> Said:
        return Said(judge(outcome, self._prompt, example.text), outcome)

    # --- keeping

    async def _verdict(self, example: Example, answers: Sequence[str], last: Turn) -> Verdict | None:
        for answer in answers:
            if verdict := self._checks.verdict(example, answer):
                return verdict
        if self._judge is None:
            return None
        # In a conversation, the judge reads what the teacher said before.
        return await self._judge.verdict(replace(example, messages=last.prompt), answers[-1])

    def _turns(self, example: Example, answered: Answered) -> list[Turn]:
        turns = self._prompt.student_turns(example, answered.answers)
        if not self._generation.keep_reasoning:
            return turns
        return [replace(turn, reasoning=self._reasoning(said)) for turn, said in zip(turns, answered.said, strict=True)]

    def _reasoning(self, said: Said) -> str | None:
        if said.reply is None:
            return None
        return said.reply.reasoning or self._prompt.read_reasoning(said.reply.content)
