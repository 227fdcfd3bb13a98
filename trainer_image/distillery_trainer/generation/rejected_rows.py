"""Rows that were rejected for a reason that may pass, and are asked again because the user wants it: their stored
replies are discarded, and the same requests are sent once more."""

from __future__ import annotations

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.follow_up import is_repeated
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.filters.llm_judge import AnswerJudge
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.generation.model_clients import ModelClients
from distillery_trainer.generation.row_pipeline import RowPipeline
from distillery_trainer.tasks import StudentTurn, TaskDefinition

Outcome = list[StudentTurn] | RowRejection


class RejectedRows:
    """Asks rows again as `retry_rejected` of the config says; held-out rows are never rejected, and so never asked
    again."""

    def __init__(self, config: RunConfig, task: TaskDefinition, clients: ModelClients, journal: ReplyJournal) -> None:
        self._retry, self._config, self._task = config.retry_rejected, config, task
        self._clients, self._journal = clients, journal
        self.repeated = self.kept = 0
        """Rows that were asked again, and those of them that are kept now."""

    async def outcome(self, row: Row, first: Outcome) -> Outcome:
        """What becomes of a row after its `first` outcome, which is from stored replies."""
        if self._retry is None or not isinstance(first, RowRejection):
            return first
        reason = first.rejection.reason
        if not self._retry.concerns(reason):
            return first
        keys = await self._requests(row, first)
        to_discard = [key for key in keys if self._journal.may_discard(key, self._retry.request)]
        for key in to_discard:
            self._journal.discard(key, self._retry.request)
        again = await self._pipeline(self._clients.teacher, self._clients.judge).training_turns(row)
        self.repeated += bool(to_discard)
        self.kept += bool(to_discard) and not isinstance(again, RowRejection)
        return again

    async def _requests(self, row: Row, rejection: RowRejection) -> list[str]:
        """The keys of the stored replies that led to the rejection; the row is read again from the journal."""
        teacher = _RecordedClient(self._clients.teacher)
        judge = _RecordedClient(self._clients.judge) if self._clients.judge else None
        await self._pipeline(teacher, judge).training_turns(row)
        if judge and rejection.rejection.reason is RejectionReason.JUDGE_UNREADABLE:
            return judge.keys()
        return teacher.keys_of_last_turn() if rejection.unanswered else teacher.keys()

    def _pipeline(
        self, teacher: ChatClient | _RecordedClient, judge: ChatClient | _RecordedClient | None
    ) -> RowPipeline:
        return RowPipeline(self._config, self._task, teacher, AnswerJudge(self._task, judge) if judge else None)


class _RecordedClient:
    """A client that remembers the requests for one row."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self._requests: list[tuple[list[Message], str]] = []

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """Ask the model."""
        outcome = await self._client.ask(messages, sample, temperature=temperature)
        if stored := self._client.stored.find(messages, sample, temperature):
            self._requests.append((messages, stored.key))
        return outcome

    def keys(self) -> list[str]:
        """The keys of all replies to the row."""
        return [key for _, key in self._requests]

    def keys_of_last_turn(self) -> list[str]:
        """The keys of the replies to the row's last turn: all samples, and what was asked because one was
        unreadable."""
        turns = [messages for messages, _ in self._requests if not is_repeated(messages)]
        if not turns:
            return []
        last = turns[-1]
        return [key for messages, key in self._requests if messages[: len(last)] == last]
