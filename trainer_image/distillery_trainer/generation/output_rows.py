"""The rows that the generate stage writes: kept, rejected and held-out ones."""

from __future__ import annotations

from dataclasses import asdict

from distillery_api.formatting import without_hidden_characters
from distillery_trainer.chat.reply import Reply
from distillery_trainer.data.rows import HeldOutRow, RejectedRow, Row, TrainingRow
from distillery_trainer.data.tool_messages import tools_of, without_tools
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.generation.preferences import assistant_message
from distillery_trainer.runtime.files import to_line
from distillery_trainer.tasks import StudentTurn, TaskDefinition
from distillery_trainer.tasks.read_reply import ParsedReply


def training_row(row: Row, turn: StudentTurn, teacher: str, *, keeps_reasoning: bool) -> TrainingRow:
    """The student prompt and the answer, with the reasoning before it if the run keeps it, else beside it."""
    answer = assistant_message(turn)
    if keeps_reasoning and turn.reasoning is not None:
        answer["content"] = f"<think>\n{turn.reasoning}\n</think>\n\n{turn.completion}"
    return TrainingRow(
        id=row.id,
        prompt=without_tools(turn.prompt),
        completion=[answer],
        teacher=teacher,
        tools=tools_of(turn.prompt) or None,
        samples=[{"completion": [assistant_message(each)], "count": count} for each, count in turn.samples] or None,
        reasoning=None if keeps_reasoning else turn.reasoning or None,
        logprobs=turn.logprobs,
    )


def training_line(row: TrainingRow) -> bytes:
    """The line of a kept row."""
    return to_line({name: value for name, value in asdict(row).items() if value is not None})


def rejected_row(row: Row, split: str, rejection: RowRejection) -> RejectedRow:
    """The row with its rejection reason and the teacher's reply."""
    received = rejection.reply or rejection.failure
    return RejectedRow(
        split=split,
        id=row.id,
        line=row.line,
        reason=rejection.rejection.reason,
        message=without_hidden_characters(rejection.rejection.message),
        reply=rejection.reply.content if rejection.reply else None,
        requestId=received.request_id if received else None,
        userMessage=row.text,
        preference=rejection.preference,
    )


def rejected_line(row: RejectedRow) -> bytes:
    """The line of a rejected row; a preference where there is one."""
    fields = asdict(row)
    return to_line(
        fields if row.preference else {name: value for name, value in fields.items() if name != "preference"}
    )


def held_out_row(
    row: Row, parsed: ParsedReply, reply: Reply | None, task: TaskDefinition, *, from_validation: bool
) -> HeldOutRow:
    """A held-out row with everything that the evaluation needs."""
    return HeldOutRow(
        id=row.id,
        studentPrompt=task.student_messages(row),
        teacherPrompt=task.teacher_messages(row),
        gold=row.gold,
        reply=reply.content if reply else None,
        answer=parsed.answer,
        reason=parsed.rejection.reason if parsed.rejection else None,
        inputTokens=reply.input_tokens if reply else None,
        outputTokens=reply.output_tokens if reply else None,
        latencySeconds=reply.latency_seconds if reply else None,
        fromValidation=from_validation,
    )
