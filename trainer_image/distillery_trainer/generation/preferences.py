"""What a row that disagrees with its gold still teaches: the answer that is right, before those that are not."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.data.rows import Message, Preference, Row, SampledAnswer
from distillery_trainer.data.tool_messages import tools_of, without_tools
from distillery_trainer.tasks import StudentTurn, TaskDefinition


def preference(
    task: TaskDefinition, row: Row, earlier: Sequence[str], turn: StudentTurn, samples: Sequence[tuple[str, int]]
) -> Preference | None:
    """The right answer to the row's last turn before the wrong ones among the teacher's `samples`, each with its
    number. `earlier` are the answers to the turns before. None where the gold cannot be written as an answer."""
    gold = row.gold
    if gold is None:
        return None
    right = next((answer for answer, _ in samples if task.correct(answer, gold)), task.written_gold(row))
    if right is None:
        return None
    wrong = [(answer, count) for answer, count in samples if not task.correct(answer, gold)]

    def completion(answer: str) -> list[Message]:
        return [assistant_message(task.student_turns(row, [*earlier, answer])[-1])]

    return {
        "prompt": without_tools(turn.prompt),
        "tools": tools_of(turn.prompt) or None,
        "chosen": completion(right),
        "rejected": [SampledAnswer(completion=completion(answer), count=count) for answer, count in wrong],
    }


def assistant_message(turn: StudentTurn) -> Message:
    """The answer as the assistant's message."""
    message: Message = {"role": "assistant", "content": turn.completion}
    if turn.tool_calls:
        message["tool_calls"] = turn.tool_calls
    return message
