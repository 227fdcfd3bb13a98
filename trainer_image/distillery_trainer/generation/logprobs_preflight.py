"""Whether the teacher gives log-probabilities, and of tokens that the student knows, before its rows are paid for.

Two short requests find out: one for a reply with log-probabilities, and one for those of a given text, which vLLM
gives. Both replies are in the journal, so no later run asks again.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.request_parameters import TOKEN_IDS, scoring_parameters, with_logprobs
from distillery_trainer.chat.token_logprobs import Position
from distillery_trainer.data.rows import Message
from distillery_trainer.generation.answer_logprobs import AnswerScorer, stored_positions
from distillery_trainer.generation.student_check import NotChecked, run_check
from distillery_trainer.runtime.errors import TryLater, UserError

PROBE = (
    "On Tuesday, the fourteenth clerk (a former engineer) read 3,141 letters; none of them was unusually contradictory,"
    " nor did any entail what the others had neutralised."
)
"""A text whose words few vocabularies divide alike."""
_REQUEST: Message = {"role": "user", "content": f"Repeat this sentence, and write nothing else: {PROBE}"}
_MAX_TOKENS = 64
_WORD = "logprob"
_CHECK = "distillery_trainer.student.vocabulary_check"


async def check_logprobs(config: RunConfig, teacher: ChatClient, scorer: AnswerScorer) -> None:
    """Ask the teacher for log-probabilities, and tell the scorer whether it gives those of a given text as well.

    Raises UserError where it gives none, or where the student has another vocabulary, and TryLater where it does not
    answer.
    """
    most = config.training.objective.logits.top_logprobs
    given = await _given_positions(teacher, most)
    if given:
        scorer.scores_texts = True
        teacher.also_ask_for(TOKEN_IDS)
    written = await _written_positions(teacher, with_logprobs(most) | (TOKEN_IDS if given else {}))
    _check_vocabulary(config, teacher.name, written, given)


async def _written_positions(teacher: ChatClient, wanted: dict[str, Any]) -> list[Position]:
    """Those of a reply."""
    parameters = {"max_tokens": _MAX_TOKENS, "temperature": 0, **wanted}
    try:
        outcome = await _probe(teacher, [_REQUEST], parameters, again=True)
    except UserError as error:
        if _WORD not in error.message.lower():
            raise
        raise _no_logprobs(teacher, error.message) from error
    if isinstance(outcome, Reply):
        if positions := stored_positions(outcome):
            return positions
        raise _no_logprobs(teacher, "its reply has none, although the request asks for them")
    if outcome.transient:
        message = f"Teacher {teacher.name} did not answer the first request: {outcome.message}"
        raise TryLater(f"{message} All paid replies are kept.", reason=Reason.TEACHER_UNREACHABLE)
    raise _no_logprobs(teacher, outcome.message)


def _no_logprobs(teacher: ChatClient, problem: str) -> UserError:
    message = (
        f"training.objective.kind Logits: teacher {teacher.name} gives no log-probabilities ({problem.rstrip('.')})."
        " Use a server that gives them, such as vLLM, ask for fewer (training.objective.logits.topLogprobs), or set the"
        " kind to Labels (docs/teachers.md)."
    )
    return UserError(message, reason=Reason.TEACHER_REJECTED)


async def _given_positions(teacher: ChatClient, most: int) -> list[Position]:
    """Those of a text that the teacher is given; none from a server that does not know this."""
    messages: list[Message] = [_REQUEST, {"role": "assistant", "content": PROBE}]
    try:
        outcome = await _probe(teacher, messages, scoring_parameters(most), again=False)
    except (UserError, TryLater):
        return []
    return [] if isinstance(outcome, Failure) else stored_positions(outcome)


async def _probe(
    teacher: ChatClient, messages: list[Message], parameters: dict[str, Any], *, again: bool
) -> Reply | Failure:
    """The reply that the journal has, else that of the server now. With `again`, one without log-probabilities counts
    for nothing: the server may have been set right."""
    client = teacher.with_parameters(parameters)
    try:
        for number in itertools.count():
            stored = client.stored.find(messages, number)
            if stored is None:
                return await client.ask(messages, number)
            if stored.reply.logprobs or not again:
                return stored.reply
    finally:
        await client.close()
    raise AssertionError


def _check_vocabulary(config: RunConfig, teacher: str, written: list[Position], given: list[Position]) -> None:
    probed = {
        "config": config.model_dump(mode="json", by_alias=True, exclude_none=True),
        "teacher": teacher,
        "written": [_listed(each) for each in written],
        "given": [_listed(each) for each in given],
    }
    try:
        run_check(config, _CHECK, json.dumps(probed))
    except NotChecked as error:
        sys.stderr.write(f"The student's vocabulary is not compared with the teacher's yet: {error}\n")


def _listed(position: Position) -> list[Any]:
    return [position.text, [token for token, _ in position.alternatives]]
