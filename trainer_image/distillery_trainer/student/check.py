"""`python -m distillery_trainer.student.check`: whether the student can be trained at all, before anything is paid.

It reads a RunConfig from standard input and never loads the weights. On failure, its exit code is that of the error
(distillery_api.stage.ExitCode), and its output the error's reason and message, as JSON. It is a program of its own
because the libraries of models take 700 MB, which the generate stage has no further use for.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import torch

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.picture_parts import PICTURE_MARK
from distillery_api.spec import Task
from distillery_trainer.data.rows import Message, Rejection
from distillery_trainer.processes.node import this_node
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student import hub
from distillery_trainer.student.chat_template import Rendering, render
from distillery_trainer.student.check_process import answer
from distillery_trainer.student.checked_student import READS_NO_PICTURES, CheckedStudent
from distillery_trainer.student.device import Device, choose_device
from distillery_trainer.student.folder_files import check_description, check_weights
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_folder import ModelFolder, locate_description, read_description
from distillery_trainer.student.model_sizes import known_sizes
from distillery_trainer.student.row_encoding import RowEncoder
from distillery_trainer.student.tool_check import check_tools
from distillery_trainer.student.trained_weights import refuse_unavailable

_USER: Message = {"role": "user", "content": "A"}
_ANSWER: Message = {"role": "assistant", "content": "B"}
_PICTURE: Message = {"role": "user", "content": f"{PICTURE_MARK}A", "pictures": [""]}
_REASONING = "This is the reasoning."
_REASONED_ANSWER: Message = {"role": "assistant", "content": f"<think>\n{_REASONING}\n</think>\n\nB"}
_OPENED_REASONING = ("<think>", "[THINK]")


def check(config: RunConfig) -> CheckedStudent:
    """Check the student of a run. Raises UserError, or TryLater if the Hub cannot be reached."""
    trains_here = config.training_machine is not None and config.training_machine.is_this_one
    if trains_here:
        refuse_unavailable(config.training.method)
        if (config.training.gpus_per_node or 1) > 1:
            this_node(config, torch.cuda.device_count())
    base = read_without_weights(config)
    encoder = RowEncoder(base, config.training.max_length)
    if config.generation.keep_reasoning:
        _check_reasoning(base, encoder)
    if config.task is Task.TOOL_CALLING:
        check_tools(base, encoder)
    answer = _REASONED_ANSWER if config.generation.keep_reasoning else _ANSWER
    for prompt in _prompts(config):
        rejection = encoder.encode({"prompt": prompt, "completion": [answer]})
        if isinstance(rejection, Rejection):
            raise _error(config, base, prompt, rejection)
    return _checked(base, choose_device() if trains_here else None)


def _checked(base: ModelFolder, device: Device | None) -> CheckedStudent:
    sizes, problem = known_sizes(base.config), _pictures_problem(base)
    if device is None:
        return CheckedStudent(sizes, base.positions, pictures_problem=problem)
    arithmetic = device.dtype.itemsize, not device.is_cpu, device.total_memory()
    return CheckedStudent(sizes, base.positions, *arithmetic, pictures_problem=problem)


def _pictures_problem(base: ModelFolder) -> str | None:
    """Why prompts may have no pictures, as a sentence; None if they may."""
    if not base.reads_pictures:
        return READS_NO_PICTURES
    try:
        prompt = render(base.tokenizer, base.uri, [_PICTURE], add_generation_prompt=True)
        base.picture_processor.check_mark(prompt)
    except InvalidModel as error:
        return error.message
    return None


def read_without_weights(config: RunConfig) -> ModelFolder:
    """All of the student but its weights, which are here only if they are not on the Hub."""
    uri, path = config.student.model.uri, locate_description(config)
    check_description(path, uri)
    if not hub.is_on_hub(uri):
        check_weights(path, uri)
    rendering = Rendering.of(config, datetime.now(UTC).date())
    return read_description(path, uri, rendering.template)


def _prompts(config: RunConfig) -> list[list[Message]]:
    """The shortest prompts that rows of the task can have."""
    prompts = config.generation.prompts
    system = "\n\n".join(part for part in (prompts.instructions, prompts.student) if part)
    one_turn: list[Message] = [{"role": "system", "content": system or "A"}, _USER]
    return [one_turn, [*one_turn, _ANSWER, _USER]] if config.task is Task.CONVERSATION else [one_turn]


def _check_reasoning(base: ModelFolder, encoder: RowEncoder) -> None:
    messages = [_USER, _REASONED_ANSWER]
    encoded = encoder.encode({"prompt": [_USER], "completion": [_REASONED_ANSWER]})
    special = isinstance(encoded, Rejection) and encoded.reason is RejectionReason.SPECIAL_TOKEN
    if special or _REASONING not in render(base.tokenizer, base.uri, messages):
        problem = f"the student {base.uri} cannot be trained on reasoning, which its chat template drops or reserves"
        raise UserError(
            f"generation.keepReasoning: {problem}; remove the field, or use another student.",
            reason=Reason.INVALID_MODEL,
        )


def _error(config: RunConfig, base: ModelFolder, prompt: list[Message], rejection: Rejection) -> UserError:
    """Why no row can be trained on."""
    prompts = config.generation.prompts
    given = [f"generation.prompts.{name}" for name in ("instructions", "student") if getattr(prompts, name)]
    fields = " or ".join(given or ["generation.prompts.student"])
    match rejection.reason:
        case RejectionReason.SPECIAL_TOKEN:
            message = f"{fields}: {rejection.message} Remove it."
            return UserError(message, reason=Reason.INVALID_SPEC)
        case RejectionReason.TOO_LONG:
            message = (
                f"training.maxLength: even the shortest row is too long. {rejection.message} Raise it as far as the"
                f" student allows, or shorten {fields}."
            )
            return UserError(message, reason=Reason.INVALID_SPEC)
        case RejectionReason.NO_END_OF_TURN:
            return InvalidModel(
                base.uri,
                "the chat template does not end an answer with a special token; correct chat_template.jinja, or use"
                " another model.",
            )
    return InvalidModel(base.uri, _not_a_prefix(base, prompt))


def _not_a_prefix(base: ModelFolder, prompt: list[Message]) -> str:
    text = render(base.tokenizer, base.uri, prompt, add_generation_prompt=True)
    if text.rstrip().endswith(_OPENED_REASONING):
        return (
            "the chat template always lets the model think before it answers, and the rows have no reasoning; use a"
            " model of the family that answers directly, or set generation.keepReasoning."
        )
    return "the chat template writes a prompt differently before an answer; use another model."


def main() -> int:
    """Check the student of the RunConfig on standard input, and return the exit code."""
    return answer(lambda content: check(RunConfig.model_validate_json(content)).to_json())


if __name__ == "__main__":
    sys.exit(main())
