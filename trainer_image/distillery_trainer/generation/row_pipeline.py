"""The pipeline of one row: its turns are asked one by one; each reply is read, requested again if it is unreadable,
decided by majority vote, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.chat.follow_up import repeated_request
from distillery_trainer.chat.remote_model import ModelClient
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.rows import Message, Preference, Rejection, Row
from distillery_trainer.data.tool_messages import with_tools
from distillery_trainer.filters.answer_checks import AnswerChecks
from distillery_trainer.filters.llm_judge import AnswerJudge
from distillery_trainer.filters.majority_vote import majority_vote, sampled_answers
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.generation.internal_errors import ENDS_STAGE, InternalErrors
from distillery_trainer.generation.preferences import preference
from distillery_trainer.tasks import AnswerOrigin, StudentTurn, TaskDefinition
from distillery_trainer.tasks.read_reply import ParsedReply, read_reply


@dataclass(slots=True)
class TeacherTurn:
    """The teacher's reply to one request, and what is read in it."""

    parsed: ParsedReply
    outcome: Reply | Failure
    origin: AnswerOrigin | None = None
    """The reply and its request; None where there is no reply."""
    samples: list[tuple[str, int]] = field(default_factory=list)
    """The different answers of several samples, each with the number of samples that gave it, this one first."""

    @property
    def reply(self) -> Reply | None:
        """The reply, if there is one."""
        return self.outcome if isinstance(self.outcome, Reply) else None

    def answer_or_rejection(self) -> str | RowRejection:
        """The answer, or why there is none."""
        if isinstance(self.parsed.outcome, str):
            return self.parsed.outcome
        failure = self.outcome if isinstance(self.outcome, Failure) else None
        return RowRejection(self.parsed.outcome, unanswered=True, failure=failure, reply=self.reply)


@dataclass(slots=True)
class AnsweredRow:
    """A row's answers, one for each of its turns."""

    answers: list[str] = field(default_factory=list)
    teacher_turns: list[TeacherTurn] = field(default_factory=list)


class RowPipeline:
    """From a row to what the student learns from it."""

    def __init__(
        self, config: RunConfig, task: TaskDefinition, teacher: ModelClient, answer_judge: AnswerJudge | None
    ) -> None:
        self._generation = config.generation
        self._task, self._teacher = task, teacher
        self._checks = AnswerChecks(config, task)
        self._judge = answer_judge
        self.errors = InternalErrors()

    async def training_turns(self, row: Row) -> list[StudentTurn] | RowRejection:
        """What the student learns from a train or validation row, or why the row is rejected."""
        try:
            return await self._training_turns(row)
        except ENDS_STAGE:
            raise
        except Exception as error:  # noqa: BLE001 - it is about this row alone
            return RowRejection(self.errors.rejection(row.id, error), unanswered=True)

    async def _training_turns(self, row: Row) -> list[StudentTurn] | RowRejection:
        if rejection := self._checks.row_rejection(row):
            return RowRejection(rejection)
        answered = await self._answer_all_turns(row)
        if isinstance(answered, RowRejection):
            return answered
        turns = self._student_turns(row, answered)
        if rejection := await self._rejection(row, answered.answers, turns[-1]):
            last = answered.teacher_turns[-1]
            return RowRejection(
                rejection, reply=last.reply, preference=self._preference(row, rejection, answered, turns)
            )
        return turns

    async def hold_out(self, row: Row) -> TeacherTurn:
        """The teacher's answer to a held-out row: one try only, since the other systems have only one as well.

        If other rows are sampled several times for a majority vote, its temperature is that of a single sample.
        """
        try:
            return await self._hold_out(row)
        except ENDS_STAGE:
            raise
        except Exception as error:  # noqa: BLE001 - it is about this row alone
            rejection = self.errors.rejection(row.id, error)
            return TeacherTurn(ParsedReply(rejection), Failure(rejection.reason, rejection.message))

    async def _hold_out(self, row: Row) -> TeacherTurn:
        messages = self._task.teacher_messages(row)
        if turn := self._existing_turn(row, len(row.existing_replies) - 1, messages):
            return turn
        temperature = self._generation.held_out_temperature
        return self._read(row, messages, await self._teacher.ask(messages, temperature=temperature))

    # --- asking

    async def _answer_all_turns(self, row: Row) -> AnsweredRow | RowRejection:
        answered = AnsweredRow()
        while (messages := self._task.next_request(row, answered.answers)) is not None:
            turn = self._existing_turn(row, len(answered.answers), messages) or await self._answer_turn(row, messages)
            if isinstance(turn, RowRejection):
                return turn
            answer = turn.answer_or_rejection()
            if isinstance(answer, RowRejection):
                return answer
            answered.teacher_turns.append(turn)
            answered.answers.append(answer)
        return answered

    def _existing_turn(self, row: Row, number: int, request: list[Message]) -> TeacherTurn | None:
        """The existing reply to a turn of the row, if it is used as the teacher's in place of asking the `request`."""
        replies = row.existing_replies if row.keeps_existing_replies else []
        text = replies[number] if number < len(replies) else None
        if text is None:
            return None
        reply = Reply(content=text, finish_reason="stop")
        messages = with_tools(row.messages, row.tools)
        parsed = read_reply(reply, self._task, row.text, existing=True, messages=messages)
        return TeacherTurn(parsed, reply, AnswerOrigin(reply, request, row.text, existing=True))

    async def _answer_turn(self, row: Row, messages: list[Message]) -> TeacherTurn | RowRejection:
        """The only sample, or the first of those that won the majority vote."""
        first = await self._ask_with_follow_up(row, messages, 0)
        if self._generation.samples == 1:
            return first
        numbers = range(1, self._generation.samples)
        samples = [first, *[await self._ask_with_follow_up(row, messages, number) for number in numbers]]
        if all(sample.parsed.answer is None for sample in samples):
            return samples[-1]
        winner = majority_vote(
            [sample.parsed for sample in samples], self._task.vote_key, self._generation.filters.min_agreement
        )
        if isinstance(winner, Rejection):
            return RowRejection(winner, reply=samples[-1].reply)
        chosen = next(sample for sample in samples if sample.parsed.answer == winner)
        parsed = [sample.parsed for sample in samples]
        return replace(chosen, samples=sampled_answers(parsed, self._task.vote_key, winner))

    async def _ask_with_follow_up(self, row: Row, messages: list[Message], sample: int) -> TeacherTurn:
        """Ask, and if the reply is unreadable ask once more, with what was wrong."""
        turn = self._read(row, messages, await self._teacher.ask(messages, sample=sample), sample)
        if turn.reply is None or turn.parsed.rejection is None or not turn.parsed.can_ask_again:
            return turn
        follow_up = repeated_request(messages, turn.reply.content, turn.parsed.rejection.message)
        return self._read(row, follow_up, await self._teacher.ask(follow_up, sample=sample), sample)

    def _read(self, row: Row, messages: list[Message], outcome: Reply | Failure, sample: int = 0) -> TeacherTurn:
        origin = AnswerOrigin(outcome, messages, row.text, sample) if isinstance(outcome, Reply) else None
        return TeacherTurn(read_reply(outcome, self._task, row.text, messages=messages), outcome, origin)

    # --- keeping

    async def _rejection(self, row: Row, answers: Sequence[str], last: StudentTurn) -> Rejection | None:
        earlier = replace(row, gold=None)  # gold answers the last turn
        for number, answer in enumerate(answers, start=1):
            of_turn = row if number == len(answers) else earlier
            if rejection := self._checks.answer_rejection(of_turn, answer):
                return rejection
        if self._judge is None:
            return None
        # In a conversation, the judge reads the teacher's earlier answers.
        return await self._judge.verdict(replace(row, messages=last.prompt), answers[-1])

    def _preference(
        self, row: Row, rejection: Rejection, answered: AnsweredRow, turns: Sequence[StudentTurn]
    ) -> Preference | None:
        if rejection.reason is not RejectionReason.DISAGREES_WITH_GOLD:
            return None
        *earlier, last = answered.answers
        samples = answered.teacher_turns[-1].samples or [(last, 1)]
        return preference(self._task, row, earlier, turns[-1], samples)

    def _student_turns(self, row: Row, answered: AnsweredRow) -> list[StudentTurn]:
        turns = self._task.student_turns(row, answered.answers)
        return [self._with_all_given(row, answered, number, turn) for number, turn in enumerate(turns)]

    def _with_all_given(self, row: Row, answered: AnsweredRow, number: int, turn: StudentTurn) -> StudentTurn:
        """The turn with what the teacher gave beside its answer: its reasoning, and the answers of its other
        samples."""
        teacher_turn, earlier = answered.teacher_turns[number], answered.answers[:number]
        samples = [
            (self._task.student_turns(row, [*earlier, answer])[number], count) for answer, count in teacher_turn.samples
        ]
        reasoning = self._reasoning(teacher_turn)
        return replace(turn, reasoning=reasoning, samples=samples, origin=teacher_turn.origin)

    def _reasoning(self, turn: TeacherTurn) -> str | None:
        if turn.reply is None:
            return None
        return turn.reply.reasoning or self._task.read_reasoning(turn.reply.content)
