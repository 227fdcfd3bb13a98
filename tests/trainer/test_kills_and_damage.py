"""Stages that are killed at random and whose files are damaged before each restart: no row is lost, none is doubled, no
reply is paid for twice, and there is no traceback.

A failing run names its seed and what was damaged. FAULT_SEED tries other kills than the usual ones, KILLS (for example
50) more of them at each stage.
"""

import os
import re
import signal
import subprocess
import time
from random import Random

import pytest

from chat_protocol import Answer
from chat_server import TeacherServer
from damage import damage_file, damage_lines, intact_rows
from distillery_api.stage import Stage
from generate_run import GenerateRun
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun, held_out_rows, training_rows

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FAULT_SEED", "11"))
KILLS = int(os.environ.get("KILLS", "0"))
GENERATE_KILLS, TRAIN_KILLS, EVALUATE_KILLS = (KILLS,) * 3 if KILLS else (12, 4, 4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


class Killed:
    """A stage's attempts, and what was damaged between them."""

    def __init__(self, start):
        self._start, self.kills = start, 0
        self.story = [f"seed {SEED}"]

    def attempt(self, is_due):
        """Kill an attempt as soon as `is_due`; True where it ended before that."""
        process = self._start()
        while process.poll() is None and not is_due():
            time.sleep(0.005)
        process.kill()
        _, said = process.communicate(timeout=60)
        self.kills += process.returncode == -signal.SIGKILL
        self.story.append(f"ended with {process.returncode}: {said}")
        assert process.returncode in (0, -signal.SIGKILL), self
        assert "Traceback" not in said, self
        return process.returncode == 0

    def finish(self):
        """The last attempt, undisturbed."""
        assert self.attempt(lambda: False), self

    def __str__(self):
        return "\n".join(self.story)


# --- generate


def conversation(number):
    return {"messages": [{"role": "user", "content": f"Person {number} says hello."}]}


def person(text):
    return int(re.search(r"[Pp]erson (\d+)", text)[1])


def greeting(messages):
    return Answer(f"Hello, person {person(messages[-1]['content'])}.")


def generate_run(root, teacher):
    rows = {
        "train": [conversation(number) for number in range(60)],
        "validation": [conversation(number) for number in range(100, 110)],
        "test": [conversation(number) for number in range(200, 210)],
    }
    root.mkdir()
    generation = {"concurrency": 4, "minSuccessRatio": 0, "filters": {"duplicates": "None"}}
    config = {"task": "Conversation", "labels": []}
    return GenerateRun(root, teacher.url, **rows, generation=generation, config=config)


def persons(requests):
    return [person(request.messages[-1]["content"]) for request in requests]


def without_latency(rows):
    return [{name: value for name, value in row.items() if name != "latencySeconds"} for row in rows]


def test_generate_loses_no_row_and_pays_for_no_intact_reply_twice(tmp_path):
    random = Random(SEED)
    with TeacherServer(greeting, latency=0.02) as teacher:
        undisturbed = generate_run(tmp_path / "undisturbed", teacher)
        assert undisturbed.run().exit_code == 0
        run = generate_run(tmp_path / "killed", teacher)
        stage = Killed(run.start)
        while True:
            segments = sorted((run.workspace / "replies").glob("*.jsonl"))
            if segments:
                stage.story.append(damage_lines(random.choice(segments), random))
            intact = {person(row["reply"]["content"]) for path in segments for row in intact_rows(path) if known(row)}
            before, due = len(teacher.requests), random.randint(1, 9)
            if stage.kills < GENERATE_KILLS:
                done = stage.attempt(lambda before=before, due=due: len(teacher.requests) >= before + due)
            else:
                stage.finish()
                done = True
            again = intact & set(persons(teacher.requests[before:]))
            assert not again, f"asked again: {again}\n{stage}"
            if done:
                break
        for name in ("train", "validation", "test", "rejected"):
            assert without_latency(run.rows(name)) == without_latency(undisturbed.rows(name)), stage
        assert run.result.rows == undisturbed.result.rows


def known(row):
    return "reply" in row and "release" not in row


# --- train


def test_train_goes_on_from_the_last_undamaged_checkpoint(tiny, tmp_path):
    random = Random(SEED)
    rows, training = training_rows(24), {"epochs": 10, "batchSize": 4}
    undisturbed = TrainEvaluateRun(tmp_path / "undisturbed", tiny, train=rows, training=training)
    subprocess_done(undisturbed.start(Stage.TRAIN))
    run = TrainEvaluateRun(tmp_path / "killed", tiny, train=rows, training=training)
    folder = run.folder(Stage.TRAIN) / "checkpoints"
    stage = Killed(lambda: run.start(Stage.TRAIN))
    while stage.kills < TRAIN_KILLS:
        step, pause = newest_step(folder) + random.randint(1, 12), random.random() / 4
        if stage.attempt(lambda step=step, pause=pause: newest_step(folder) >= step and not time.sleep(pause)):
            break
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        stage.story.append(damage_file(random.choice(files), random))
    stage.finish()
    result, expected = run.result(Stage.TRAIN), undisturbed.result(Stage.TRAIN)
    assert result.rows == expected.rows
    assert result.training.steps == expected.training.steps
    assert result.training.validation_loss == pytest.approx(expected.training.validation_loss, abs=1e-3), stage


def newest_step(folder):
    return max((int(path.name.partition("-")[2]) for path in folder.glob("checkpoint-*")), default=0)


def subprocess_done(process: subprocess.Popen[str]):
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said


# --- evaluate


def test_evaluate_generates_each_reply_once_and_scores_the_same(tiny, tmp_path):
    random = Random(SEED)
    run = TrainEvaluateRun(tmp_path, tiny, test=held_out_rows(12), generation={"sampling": {"maxTokens": 8}})
    (run.folder(Stage.TRAIN)).mkdir(parents=True)
    (run.folder(Stage.TRAIN) / "model").symlink_to(tiny)
    subprocess_done(run.start(Stage.EVALUATE))
    folder = run.folder(Stage.EVALUATE)
    predictions = (folder / "predictions.jsonl").read_bytes()
    for path in folder.glob("*.json*"):
        path.unlink()
    stage = Killed(lambda: run.start(Stage.EVALUATE))
    while stage.kills < EVALUATE_KILLS:
        files = sorted(folder.glob("replies-*.jsonl"))
        stage.story += [damage_lines(random.choice(files), random)] if files else []
        due = written(folder) + random.randint(1, 9)
        if stage.attempt(lambda due=due: written(folder) >= due):
            (folder / "result.json").unlink()
    (folder / "result.json").unlink(missing_ok=True)
    stage.finish()
    assert (folder / "predictions.jsonl").read_bytes() == predictions, stage


def written(folder):
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("replies-*.jsonl"))
