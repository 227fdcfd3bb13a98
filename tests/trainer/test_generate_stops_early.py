"""The stage ends early - killed, stopped, out of budget, too few rows, a full disk - and nothing paid for is lost."""

import os
import resource
import signal
import subprocess
import time

import pytest

from chat_faults import labelled, server_error, slow, where
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_trainer.runtime.signals import on_termination, raise_terminated
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import generate
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher

TRAIN, VALIDATION, TEST = nli_rows(60), nli_rows(6, 100), nli_rows(3, 200)
GOLD = gold_of(TRAIN, VALIDATION, TEST)


def wrong_in(rows):
    """A wrong label for each of the rows."""
    texts = {row["messages"][0]["content"] for row in rows}
    return lambda call: labelled("sideways") if texts & {message["content"] for message in call.messages} else None


def requested(teacher) -> list[str]:
    return [request.user_text for request in teacher.requests]


def wait_for_requests(teacher, count, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(teacher.requests) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- killed and stopped


def test_kill_repeats_at_most_the_requests_in_flight(tmp_path):
    with gold_teacher(GOLD, latency=0.1) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=TRAIN)
        for requests in (13, 31):
            process = run.start()
            wait_for_requests(teacher, requests, process)
            process.kill()
            process.wait()
            assert not (run.workspace / run.folder / "result.json").exists()
        result = run.run()
        assert result.rows.kept == 69
        texts = requested(teacher)
        assert len(set(texts)) == 69
        assert len(texts) - 69 <= 2 * 4
        assert [row["id"] for row in run.rows("train")] == [f"train-{line}" for line in range(1, 61)]
        left = {path.name for path in (run.workspace / run.folder).iterdir()}
        assert left == {
            *("train.jsonl", "validation.jsonl", "test.jsonl", "rejected.jsonl"),
            *("train.jsonl.crc32", "validation.jsonl.crc32", "test.jsonl.crc32", "rejected.jsonl.crc32"),
            *("student-prompt.txt", "metrics-port", "result.json", "README.md", "first-rows-digest"),
        }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_request_finishes_the_requests_in_flight_and_exits_143(tmp_path, number):
    with gold_teacher(GOLD, latency=0.2) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=TRAIN)
        process = run.start()
        wait_for_requests(teacher, 10, process)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 143
        assert "Traceback" not in stderr
        assert (run.result.state, run.result.reason) == ("Failed", "Terminated")
        in_flight_at_most = len(teacher.requests)
        assert in_flight_at_most <= 16
        assert run.result.rows.kept == in_flight_at_most == len(run.journal())
        assert run.run().rows.kept == 69
        assert len(teacher.requests) == 69


def test_stop_request_while_rows_wait_for_a_retry(tmp_path):
    with gold_teacher(GOLD, faults=lambda call: server_error(503) if call.number > 6 else None) as teacher:
        run = GenerateRun(tmp_path, teacher.url, config={"maxAttempts": 40})
        process = run.start()
        wait_for_requests(teacher, 16, process)
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 143


class TellsToStopWhenAllIsAnswered(ProgressReporter):
    def update(self, done, total, unit="rows"):
        super().update(done, total, unit)
        if done == total:
            signal.raise_signal(signal.SIGTERM)


def test_stop_request_when_all_is_answered_publishes_everything(tmp_path):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        with on_termination(raise_terminated):
            result = generate.run(RunConfig.read(run.config_file), TellsToStopWhenAllIsAnswered(Stage.GENERATE))
        assert (result.state, result.rows.kept) == ("Done", 21)
        assert [len(run.rows(split)) for split in ("train", "validation", "test")] == [12, 6, 3]


def test_reply_that_was_torn_by_a_kill_is_requested_again(tmp_path):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        run.run()
        segment = next((run.workspace / "replies").glob("*.jsonl"))
        segment.write_bytes(segment.read_bytes()[:-30])
        (run.workspace / run.folder / "result.json").unlink()
        assert run.run().rows.kept == 21
        assert len(teacher.requests) == 22


# --- too few rows


def test_ratio_ends_the_stage_as_soon_as_it_cannot_be_met(tmp_path):
    with gold_teacher(GOLD, faults=wrong_in(TRAIN[1:])) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=TRAIN, generation={"concurrency": 2})
        result = run.run()
        assert (result.exit_code, result.reason) == (2, "TooFewRows")
        # 0.7 of 60 rows are 42, so the 19th row without an answer ends it. Each is asked twice, and there are never
        # more than four rows under way.
        assert 1 + 2 * 19 <= len(teacher.requests) <= 1 + 2 * (19 + 3)
        assert result.message.startswith(
            "Too few train rows: 19 of 60 have no usable answer (label_not_allowed 19), but generation.minSuccessRatio"
            " 0.7 allows at most 18."
        )
        assert len(run.rows("rejected")) == result.rows.rejected


def test_first_rows_without_any_answer_are_the_only_ones_sent(tmp_path):
    with gold_teacher(GOLD, faults=where("Person ", labelled("sideways"))) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=TRAIN)
        result = run.run()
        assert (result.exit_code, result.reason) == (2, "TooFewRows")
        assert result.message.startswith(
            "None of the first 5 rows got a usable answer (label_not_allowed 5), so the other rows are not sent. Last"
            " error: The reply 'sideways' names none of the labels: entailment, neutral, contradiction."
        )
        assert len(teacher.requests) == 2 * 5


def test_ratio_applies_to_each_split(tmp_path):
    with gold_teacher(GOLD, faults=wrong_in(VALIDATION)) as teacher:
        result = GenerateRun(tmp_path, teacher.url, train=TRAIN).run()
        assert (result.exit_code, result.reason) == (2, "TooFewRows")
        assert result.message.startswith("Too few validation rows: 2 of 6 have no usable answer")
        assert result.splits["train"].kept == 60


def test_ratio_missed_because_of_failed_requests_is_a_failed_generation(tmp_path):
    def faults(call):
        return server_error(418) if call.number > 3 else None

    with gold_teacher(GOLD, faults=faults) as teacher:
        result = GenerateRun(tmp_path, teacher.url).run()
        assert (result.exit_code, result.reason) == (2, "GenerationFailed")
        assert "http_418" in result.message


def test_ratio_zero_still_needs_one_row(tmp_path):
    with gold_teacher(GOLD, faults=wrong_in(VALIDATION)) as teacher:
        result = GenerateRun(tmp_path, teacher.url, generation={"minSuccessRatio": 0.0}).run()
        assert result.message.startswith("Too few validation rows: 6 of 6 are rejected")


def test_rows_at_exactly_the_ratio_are_enough(tmp_path):
    with gold_teacher(GOLD, faults=wrong_in(TRAIN[20:38])) as teacher:
        result = GenerateRun(tmp_path, teacher.url, train=TRAIN).run()
        assert (result.exit_code, result.splits["train"].kept) == (0, 42)


# --- the budget


def tokens(teacher) -> int:
    statistics = teacher.statistics()
    return statistics["promptTokens"] + statistics["completionTokens"]


@pytest.mark.parametrize("limit", [600, 1000, 2000, 3100])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_budget_is_never_overshot_and_all_is_kept(tmp_path, limit, concurrency):
    with gold_teacher(GOLD, latency=0.005) as teacher:
        run = GenerateRun(
            tmp_path,
            teacher.url,
            train=TRAIN,
            generation={"budget": {"maxTokens": limit}, "concurrency": concurrency, "sampling": {"maxTokens": 16}},
        )
        result = run.run()
        assert (result.exit_code, result.reason) == (2, "BudgetExceeded")
        assert limit * 0.5 < tokens(teacher) <= limit
        assert result.usage.input_tokens + result.usage.output_tokens == tokens(teacher)
        written = run.rows("train") + run.rows("validation") + run.rows("test")
        assert len(written) == result.rows.kept == len(teacher.requests)
        assert f"{limit:,} tokens of generation.budget.maxTokens" in result.message


def test_sufficient_budget_has_no_effect(tmp_path):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url, generation={"budget": {"maxTokens": 100_000}})
        assert run.run().rows.kept == 21
        assert sum(line["spent"] for line in run.journal()) == tokens(teacher)


def test_raised_budget_resumes_without_paying_twice(tmp_path):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url, generation={"budget": {"maxTokens": 1000}})
        assert run.run().exit_code == 2
        run.generation = {"budget": {"maxTokens": 100_000}}
        assert run.run().rows.kept == 21
        assert len(teacher.requests) == 21


def test_other_runs_of_the_workspace_count_against_the_budget(tmp_path):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        run.run()
        paid = tokens(teacher)
        run.folder = "generate-another"
        run.generation = {"budget": {"maxTokens": paid + 100}, "sampling": {"temperature": 0.9}}
        result = run.run()
        assert (result.reason, result.rows.read) == ("BudgetExceeded", 0)
        assert f"{paid:,} of the {paid + 100:,} tokens" in result.message


def test_requests_in_flight_at_a_kill_count_against_the_budget(tmp_path):
    with gold_teacher(GOLD, faults=where("Person ", slow(30))) as teacher:
        run = GenerateRun(tmp_path, teacher.url, generation={"budget": {"maxTokens": 1200}, "concurrency": 3})
        process = run.start()
        wait_for_requests(teacher, 3, process)
        process.kill()
        process.wait()
        spent = sum(line["spent"] for line in run.journal())
        assert 3 * 128 < spent <= 1200
        teacher.faults = lambda call: None
        result = run.run()
        assert result.reason == "BudgetExceeded"
        assert tokens(teacher) <= 1200 - spent


def test_failed_requests_release_their_reservation(tmp_path):
    with gold_teacher(GOLD, faults=lambda call: server_error(500) if call.attempt == 0 else None) as teacher:
        run = GenerateRun(tmp_path, teacher.url, generation={"budget": {"maxTokens": 100_000}})
        assert run.run().rows.kept == 21
        assert sum(line["spent"] for line in run.journal()) == tokens(teacher)
        assert run.result.usage.requests == 42


# --- the disk


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


def test_full_disk_is_reported_and_loses_nothing(tmp_path):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        config = run.config_file
        command = [os.sys.executable, "-m", "distillery_trainer", "generate", "--config", str(config)]
        done = subprocess.run(command, preexec_fn=limit_file_size, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "cannot be written: the file is too big. Enlarge the volume" in done.stderr
        assert "Traceback" not in done.stderr
        assert run.result.reason == "StorageFull"
        paid = len(run.journal())
        assert 3 <= paid < 21
        before = len(teacher.requests)
        assert run.run().rows.kept == 21
        assert len(teacher.requests) - before == 21 - paid


def test_workspace_that_is_a_file_is_reported(tmp_path, capsys):
    with gold_teacher(GOLD) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        (tmp_path / "workspace").write_text("")
        config = run.config_file
        command = [os.sys.executable, "-m", "distillery_trainer", "generate", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "cannot be written" in done.stderr
