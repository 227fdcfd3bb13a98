"""The student that is served answers the same held-out rows, so that a new one can be compared with it: by the replies
of its own evaluation if it was asked the very same messages there, else by its model. Nobody else is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery_api.evaluation import ServingComparison
from distillery_api.paths import StageFolder
from distillery_api.run_config import RunConfig, ServingStudent
from distillery_api.stage import Stage
from distillery_trainer.data.rows import HeldOutRow, Message
from distillery_trainer.data.tool_messages import tools_of, with_tools, without_tools
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.model_replies import ModelReplies
from distillery_trainer.evaluation.model_requests import SystemRequests
from distillery_trainer.evaluation.result_table import paired_p_value
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer, System, SystemReply
from distillery_trainer.runtime.files import read_rows
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.tasks import TaskDefinition

_UNREADABLE = (OSError, ValueError, LookupError, TypeError)
"""How files that are missing or not ours fail."""


class NotComparable(Exception):
    """The student that is served cannot answer the rows. The message says why."""


def serving_replies(
    config: RunConfig, student: ServingStudent, rows: HeldOutRows, task: TaskDefinition, models: ModelReplies
) -> Sequence[SystemReply]:
    """One reply for each row. Raises NotComparable."""
    prompts = _prompts(config, student, rows)
    known = _known_replies(config, student, rows, prompts)
    if known is not None:
        return known
    requests = SystemRequests(System.SERVING, prompts, task.student_max_tokens, variant=student.hash)
    model = _folder(config, student, Stage.TRAIN).model
    try:
        return models.replies([requests], lambda: open_folder(model, str(model)))[System.SERVING]
    except InvalidModel as error:
        raise NotComparable(f"its model cannot be loaded: {error.problem}") from error


def comparison(
    task: TaskDefinition, student: ServingStudent, new: Sequence[ScoredAnswer], serving: Sequence[ScoredAnswer]
) -> ServingComparison:
    """The new student beside the serving one, row by row."""
    differences = [one.score - other.score for one, other in zip(new, serving, strict=True)]
    low, high = scores.bootstrap_interval(differences) or (None, None)
    return ServingComparison(
        hash=student.hash,
        better=sum(difference > 0 for difference in differences),
        worse=sum(difference < 0 for difference in differences),
        p_value=paired_p_value(task, new, serving),
        difference_low=_rounded(low),
        difference_high=_rounded(high),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _folder(config: RunConfig, student: ServingStudent, stage: Stage) -> StageFolder:
    if stage not in student.folders:
        raise NotComparable(f"the folder of its stage {stage} is not known")
    return config.paths.stage(student.folders[stage])


# --- what it is asked


def _prompts(config: RunConfig, student: ServingStudent, rows: HeldOutRows) -> list[list[Message]]:
    """The rows under the serving student's own prompt. A row with a system message of its own keeps it."""
    new = _student_prompt(config.input_folder(Stage.GENERATE))
    own = _student_prompt(_folder(config, student, Stage.GENERATE))
    return [_under(own, row.studentPrompt) if _is_under(new, row) else row.studentPrompt for row in rows.rows]


def _student_prompt(folder: StageFolder) -> str:
    try:
        return folder.student_prompt.read_text(encoding="utf-8")
    except _UNREADABLE as error:
        raise NotComparable(f"its student prompt {folder.student_prompt} cannot be read") from error


def _is_under(prompt: str, row: HeldOutRow) -> bool:
    return without_tools(row.studentPrompt)[0] == {"role": "system", "content": prompt}


def _under(prompt: str, messages: Sequence[Message]) -> list[Message]:
    return with_tools([{"role": "system", "content": prompt}, *messages[1:]], tools_of(messages))


# --- what it has answered before


def _known_replies(
    config: RunConfig, student: ServingStudent, rows: HeldOutRows, prompts: Sequence[list[Message]]
) -> list[SystemReply] | None:
    """Its replies in its own evaluation; None unless that asked it every row with the same messages."""
    if Stage.EVALUATE not in student.folders:
        return None
    try:
        then = _prompts_then(_folder(config, student, Stage.GENERATE).test)
        replied = _replied(_folder(config, student, Stage.EVALUATE).predictions)
    except _UNREADABLE:
        return None
    known = [
        replied.get(row.id) if then.get(row.id) == prompt else None
        for row, prompt in zip(rows.rows, prompts, strict=True)
    ]
    found = [reply for reply in known if reply is not None]
    return found if len(found) == len(known) else None


def _prompts_then(path: Path) -> dict[str, list[Message] | None]:
    """The messages of each row; None for an id that several rows have."""
    prompts: dict[str, list[Message] | None] = {}
    for row in map(HeldOutRow.read, read_rows(path)):
        prompts[row.id] = None if row.id in prompts else row.studentPrompt
    return prompts


def _replied(path: Path) -> dict[str, SystemReply]:
    return {row["id"]: _reply(row) for row in read_rows(path) if row["system"] == System.STUDENT}


def _reply(row: Mapping[str, Any]) -> SystemReply:
    # Earlier releases did not write whether a reply was cut off; such a reply has no answer.
    finished = row.get("finished", row["answer"] is not None)
    return SystemReply(row["reply"], finished, row.get("promptTokens"), row.get("answerTokens"))
