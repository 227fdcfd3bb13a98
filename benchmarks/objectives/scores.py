"""The scores of one model's greedy answers to the held-out rows, read as in the evaluation.

    python scores.py --config RUN.json --out SCORES.json [--model FOLDER | --base | --teacher]

Writes a list with a score for each row. `--base` is the base model under the teacher prompt, `--teacher` what the
teacher has answered.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_trainer.data.rows import HeldOutRow, Message
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest
from distillery_trainer.runtime.files import read_rows
from distillery_trainer.stages.student_training import base_model
from distillery_trainer.student.device import choose_device
from distillery_trainer.student.model_folder import ModelFolder, open_folder
from distillery_trainer.student.row_encoding import prompt_ids
from distillery_trainer.tasks import TaskDefinition, Unreadable, task_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="of a train stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--teacher", action="store_true")
    arguments = parser.parse_args()
    config = RunConfig.model_validate_json(arguments.config.read_text())
    task = task_for(config)
    rows = [HeldOutRow.read(row) for row in read_rows(config.input_folder(Stage.GENERATE).test)]
    if arguments.teacher:
        texts = [row.reply or "" for row in rows]
        answers = [row.answer for row in rows]
        scores = [
            0.0 if answer is None else score(task, answer, row) for answer, row in zip(answers, rows, strict=True)
        ]
    else:
        base = base_model(config) if arguments.base else open_folder(arguments.model, str(arguments.model))
        prompts = [row.teacherPrompt if arguments.base else row.studentPrompt for row in rows]
        texts = replies(base, prompts, task.max_tokens if arguments.base else task.student_max_tokens)
        scores = [read_score(task, text, row) for text, row in zip(texts, rows, strict=True)]
    draft = arguments.out.with_suffix(".draft")
    draft.write_text(json.dumps({"scores": scores, "replies": texts}))
    os.replace(draft, arguments.out)


def replies(model: ModelFolder, prompts: Sequence[list[Message]], max_tokens: int) -> list[str]:
    """The greedy replies; an unfinished one is empty."""
    device = choose_device()
    loaded = model.load(device.dtype, device.kind).eval()
    padding = model.tokenizer.pad_token_id or 0
    generator = BatchedGenerator(loaded, device, model.end_of_turn, padding, max_rows=128)
    requests = [GenerationRequest(prompt_ids(model, messages), max_tokens) for messages in prompts]
    texts = [""] * len(prompts)
    for row, reply in generator.generate(requests):
        if reply.finished:
            texts[row] = str(model.tokenizer.decode(reply.ids, skip_special_tokens=True))
    return texts


def read_score(task: TaskDefinition, text: str, row: HeldOutRow) -> float:
    answer = task.read_answer(text, row.studentPrompt[-1]["content"])
    return 0.0 if isinstance(answer, Unreadable) else score(task, answer, row)


def score(task: TaskDefinition, answer: str, row: HeldOutRow) -> float:
    assert row.gold is not None
    return task.score(answer, row.gold)


if __name__ == "__main__":
    main()
