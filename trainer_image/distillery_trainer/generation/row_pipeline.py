"""One row on its way: asked turn by turn, read, asked again where the reply cannot be used, voted on, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.follow_up import repeated_request
from distillery_trainer.chat.remote_model import ModelClient
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.records import Example, Message, Rejection
from distillery_trainer.filters.answer_checks import AnswerChecks
from distillery_trainer.filters.llm_judge import AnswerJudge
from distillery_trainer.filters.majority_vote import majority_vote
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.tasks import StudentTurn, TaskDefinition
from distillery_trainer.tasks.read_reply import ParsedReply, read_reply


@dataclass(slots=True)
class TeacherTurn:
    """What the teacher said to one request, read."""

    parsed: ParsedReply
    outcome: Reply | Failure

    @property
    def reply(self) -> Reply | None:
        """The reply, where there is one."""
        return self.outcome if isinstance(self.outcome, Reply) else None

    def answer_or_rejection(self) -> str | RowRejection:
        """The answer, or why there is none."""
        if isinstance(self.parsed.outcome, str):
            return self.parsed.outcome
        failure = self.outcome if isinstance(self.outcome, Failure) else None
        return RowRejection(self.parsed.outcome, unanswered=True, failure=failure, reply=self.reply)


@dataclass(slots=True)
class AnsweredRow:
    """A row with an answer for each of its turns."""

    answers: list[str] = field(default_factory=list)
    said: list[TeacherTurn] = field(default_factory=list)


class RowPipeline:
    """From a row to what the student learns of it."""

    def __init__(
        self, config: RunConfig, task: TaskDefinition, teacher: ModelClient, answer_judge: AnswerJudge | None
    ) -> None:
        self._generation = config.generation
        self._task, self._teacher = task, teacher
        self._checks = AnswerChecks(config, task)
        self._judge = answer_judge

    async def learn(self, example: Example) -> list[StudentTurn] | RowRejection:
        """What the student learns of a train or validation row, or why it learns nothing of it."""
        if verdict := self._checks.row_verdict(example):
            return RowRejection(verdict)
        answered = await self._answer_all_turns(example)
        if isinstance(answered, RowRejection):
            return answered
        turns = self._turns(example, answered)
        if verdict := await self._verdict(example, answered.answers, turns[-1]):
            return RowRejection(verdict, reply=answered.said[-1].reply)
        return turns

    async def hold_out(self, example: Example) -> TeacherTurn:
        """The teacher's one answer to a held-out row: no second try, as the other contestants have none.

        Where train rows are sampled several times for a vote, it is as cool as a single sample.
        """
        if said := self._held(example, len(example.held_replies) - 1):
            return said
        messages = self._task.teacher_messages(example)
        return self._read(example, await self._teacher.ask(messages, temperature=self._generation.held_out_temperature))

    # --- asking

    async def _answer_all_turns(self, example: Example) -> AnsweredRow | RowRejection:
        row = AnsweredRow()
        while (messages := self._task.next_request(example, row.answers)) is not None:
            said = self._held(example, len(row.answers)) or await self._decide(example, messages)
            if isinstance(said, RowRejection):
                return said
            answer = said.answer_or_rejection()
            if isinstance(answer, RowRejection):
                return answer
            row.said.append(said)
            row.answers.append(answer)
        return row

    def _held(self, example: Example, turn: int) -> TeacherTurn | None:
        """The answer that the row holds, where it is taken as the teacher's."""
        held = example.held_replies if example.keeps_replies else []
        text = held[turn] if turn < len(held) else None
        if text is None:
            return None
        reply = Reply(content=text, finish_reason="stop")
        return TeacherTurn(read_reply(reply, self._task, example.text, recorded=True), reply)

    async def _decide(self, example: Example, messages: list[Message]) -> TeacherTurn | RowRejection:
        """The answer that most samples agree on, or the one there is."""
        first = await self._ask_twice(example, messages, 0)
        if self._generation.samples == 1:
            return first
        others = [await self._ask_twice(example, messages, sample) for sample in range(1, self._generation.samples)]
        samples = [first, *others]
        if all(said.parsed.answer is None for said in samples):
            return samples[-1]
        winner = majority_vote(
            [said.parsed for said in samples], self._task.vote_key, self._generation.filters.min_agreement
        )
        if isinstance(winner, Rejection):
            return RowRejection(winner, reply=samples[-1].reply)
        return next(said for said in samples if said.parsed.answer == winner)

    async def _ask_twice(self, example: Example, messages: list[Message], sample: int) -> TeacherTurn:
        """Ask, and once more with what was wrong, where the reply cannot be read."""
        said = self._read(example, await self._teacher.ask(messages, sample=sample))
        if said.reply is None or said.parsed.rejection is None or not said.parsed.can_ask_again:
            return said
        again = repeated_request(messages, said.reply.content, said.parsed.rejection.message)
        return self._read(example, await self._teacher.ask(again, sample=sample))

    def _read(self, example: Example, outcome: Reply | Failure) -> TeacherTurn:
        return TeacherTurn(read_reply(outcome, self._task, example.text), outcome)

    # --- keeping

    async def _verdict(self, example: Example, answers: Sequence[str], last: StudentTurn) -> Rejection | None:
        for answer in answers:
            if verdict := self._checks.verdict(example, answer):
                return verdict
        if self._judge is None:
            return None
        # In a conversation, the judge reads what the teacher said before.
        return await self._judge.verdict(replace(example, messages=last.prompt), answers[-1])

    def _turns(self, example: Example, answered: AnsweredRow) -> list[StudentTurn]:
        turns = self._task.student_turns(example, answered.answers)
        if not self._generation.keep_reasoning:
            return turns
        return [replace(turn, reasoning=self._reasoning(said)) for turn, said in zip(turns, answered.said, strict=True)]

    def _reasoning(self, said: TeacherTurn) -> str | None:
        if said.reply is None:
            return None
        return said.reply.reasoning or self._task.read_reasoning(said.reply.content)
