import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from distillery_api.run_config import RetryRejected
from distillery_api.runtime.line_checksums import checksum, checksums_file
from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage import Stage
from distillery_operator.local import run as local_run
from distillery_operator.local.local_plan import local_plan
from distillery_operator.local.references import LocalSubstitutes, find_inputs
from distillery_operator.local.run import LocalRun, record_failure
from distillery_operator.local.trainer import TrainerMissing
from distillery_operator.local.workspace import WorkspaceError, opened_workspace
from distillery_operator.manifest_input.manifest_file import read_manifest

SUPPORT = Path(__file__).parents[1] / "support"

MANIFEST = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: conjnli}
spec:
  task: NLI
  data: {train: {uri: rows.jsonl}, validation: {uri: rows.jsonl}}
  generation:
    teachers: [{name: big, endpoint: "http://127.0.0.1:9/v1", model: big, apiKey: {secretName: teacher}}]
  student: {model: {uri: hf://org/student}, credentials: {secretName: hub}}
"""


class RecordingListener:
    """Records what a run reports."""

    def __init__(self, on_start=None):
        self.entries = []
        self.metrics = []
        self.on_start = on_start

    def already_done(self, result):
        self.entries.append(f"{result.stage} already done")

    def started(self, stage, attempt):
        self.entries.append(f"{stage} attempt {attempt}")
        if self.on_start:
            self.on_start(stage)

    def progressed(self, stage, metrics):
        self.metrics.append(metrics)

    def estimated(self, stage, estimate):
        self.entries.append(f"{stage} expects {estimate.requests} requests")

    def stopping(self, stage):
        self.entries.append(f"{stage} stopping")

    def done(self, result):
        self.entries.append(f"{result.stage} Done")

    def retrying(self, result, seconds, attempt, attempts):
        self.entries.append(f"{result.stage} retries in {seconds} s, attempt {attempt} of {attempts}")


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Makes a run whose stages follow a script."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    (tmp_path / "teacher.env").write_text("# the key\napi-key=s3cret\n")
    (tmp_path / "hub.env").write_text("HF_TOKEN=hf_1\n")
    (tmp_path / "publisher.env").write_text("HF_TOKEN=hf_2\n")
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT / "scripted_trainer"))

    def make(script=None, *, listener=None, stop=None, text=MANIFEST, **options):
        monkeypatch.setenv("SCRIPT", json.dumps(script or {}))
        (tmp_path / "manifest.yaml").write_text(text)
        manifest = read_manifest(tmp_path / "manifest.yaml")
        secrets = {name: tmp_path / f"{name}.env" for name in ("teacher", "hub", "publisher")}
        inputs = find_inputs(manifest, LocalSubstitutes(secrets=secrets))
        plan = local_plan(manifest.distillation, inputs.fingerprints)
        options = {"retry_seconds": (0.01, 0.02), **options}
        return LocalRun(
            plan, inputs, tmp_path / "out", listener or RecordingListener(), stop or StopRequest(), **options
        )

    return make


def saved(run):
    return json.loads((run.folder / "result.json").read_text())


def test_run_goes_through_all_stages_and_writes_the_result(prepared):
    usage = {"requests": 3, "inputTokens": 30, "outputTokens": 6}
    rows = {"read": 9, "kept": 7, "rejected": 2, "rejectedByReason": {"bad_json": 2}}
    long_rows = {"read": 7, "kept": 6, "rejected": 1, "rejectedByReason": {"too_long": 1}}
    score = {"metric": "accuracy", "sampleSize": 4, "student": {"score": 0.75}, "gapClosed": 0.5}
    script = {
        "generate": [{"usage": usage, "rows": rows}],
        "train": [{"rows": long_rows}],
        "evaluate": [{"evaluation": score}],
    }
    run = prepared(script)
    outcome = run.run()
    assert (outcome.exit_code, outcome.idle) == (0, False)
    assert run.listener.entries == [
        "generate attempt 1",
        "generate Done",
        "train attempt 1",
        "train Done",
        "evaluate attempt 1",
        "evaluate Done",
    ]
    result = saved(run)
    assert (result["name"], result["state"], result["reason"]) == ("conjnli", "Done", "Succeeded")
    assert result["usage"].items() >= {"requests": 3, "inputTokens": 30, "outputTokens": 6}.items()
    reasons = {"bad_json": 2, "too_long": 1}
    assert result["rows"] == {
        "read": 9,
        "kept": 6,
        "rejected": 3,
        "rejectedByReason": reasons,
        "transientFailures": 0,
    }
    assert result["evaluation"]["student"]["score"] == 0.75
    assert result["evaluation"]["gapClosed"] == 0.5
    assert sorted(result["files"]) == ["adapter", "model", "predictions", "rejected", "train", "validation"]
    assert all((run.folder / path).exists() for path in result["files"].values())


PRICED = MANIFEST.replace(
    "model: big,", "model: big, pricing: {currency: EUR, inputPerMillion: 10, outputPerMillion: 40},"
)


def test_the_result_states_what_a_thousand_calls_cost_and_what_the_figures_mean(prepared):
    verdict = {"kind": "BeatsTeacher", "message": "Better.", "remedy": "Serve", "nextStep": "Serve it."}
    teacher = {"score": 1.0, "promptTokens": 400, "answerTokens": 50}
    table = {"sampleSize": 200, "teacher": teacher, "student": {"score": 0.75}, "verdict": verdict}
    run = prepared({"evaluate": [{"evaluation": table}]}, text=PRICED)
    run.run()
    evaluation = saved(run)["evaluation"]
    assert evaluation["cost"] == {"teacher": 6.0, "student": None, "currency": "EUR"}
    assert evaluation["verdict"] == {**verdict, "comparedWith": None}


def test_files_of_a_run_are_for_their_owner_alone(prepared):
    run = prepared({"generate": [{"says": "hello"}]})
    run.run()
    written = [run.folder / "result.json", *run.folder.glob("generate-*/run.json"), *run.folder.glob("*/stage.log")]
    assert [path.stat().st_mode & 0o777 for path in written] == [0o600] * 5
    folders = [run.folder, *run.folder.glob("*-*")]
    assert [path.stat().st_mode & 0o777 for path in folders] == [0o700] * 4


def test_second_run_finds_everything_done_and_starts_nothing(prepared):
    first = prepared()
    first.run()
    before = saved(first)
    again = prepared({stage: [{"exit": 1}] * 2 for stage in ("generate", "train", "evaluate")})
    outcome = again.run()
    assert (outcome.exit_code, outcome.idle) == (0, True)
    assert again.listener.entries == ["generate already done", "train already done", "evaluate already done"]
    assert saved(again) == before


def test_next_run_asks_rows_again_after_a_transient_failure(prepared):
    failed = {"read": 9, "kept": 6, "rejected": 3, "rejectedByReason": {"http_500": 3}, "transientFailures": 3}
    answered = {"rows": {"read": 9, "kept": 9}, "rowsRevision": "1a2b3c4d"}
    first = prepared({"generate": [{"rows": failed}]})
    first.run()
    before = {stage["name"]: stage["folder"] for stage in saved(first)["stages"]}
    again = prepared({"generate": [{}, answered]})
    outcome = again.run()
    assert (outcome.exit_code, outcome.idle) == (0, False)
    started = [entry for entry in again.listener.entries if "attempt" in entry]
    assert started == ["generate attempt 1", "train attempt 1", "evaluate attempt 1"]
    after = {stage["name"]: stage["folder"] for stage in saved(again)["stages"]}
    assert after["generate"] == before["generate"]
    assert {after["train"], after["evaluate"]}.isdisjoint(before.values())
    third = prepared()
    assert third.run().idle
    assert {stage["name"]: stage["folder"] for stage in saved(third)["stages"]} == after


def test_rows_that_fail_again_leave_the_later_stages_alone(prepared):
    failed = {"rows": {"read": 9, "kept": 8, "rejected": 1, "transientFailures": 1}}
    prepared({"generate": [failed]}).run()
    again = prepared({"generate": [{}, failed]})
    again.run()
    assert again.listener.entries == [
        "generate attempt 1",
        "generate Done",
        "train already done",
        "evaluate already done",
    ]


REJECTED = {"read": 9, "kept": 6, "rejected": 3, "rejectedByReason": {"refused": 2, "duplicate": 1}}


def retry(request, *reasons):
    return RetryRejected(request=request, reasons=reasons)


def given_request(run):
    """The request that the last attempt at generate was given."""
    (config,) = run.folder.glob("generate-*/run.json")
    return json.loads(config.read_text()).get("retryRejected")


def test_a_finished_stage_runs_again_for_rejected_rows_that_are_to_be_sent_again(prepared):
    prepared({"generate": [{"rows": REJECTED}]}).run()
    again = prepared({"generate": [{}, {"rows": REJECTED}]}, retry_rejected=retry("today", "refused"))
    again.run()
    assert again.listener.entries[:2] == ["generate attempt 1", "generate Done"]
    assert given_request(again) == {"request": "today", "reasons": ["refused"]}
    later = prepared({"generate": [{}, {}, {"rows": REJECTED}]})
    assert later.run().idle


@pytest.mark.parametrize("reason", ["truncated", "bad_json"])
def test_it_does_not_where_no_row_has_such_a_reason(prepared, reason):
    prepared({"generate": [{"rows": REJECTED}]}).run()
    again = prepared(retry_rejected=retry("today", reason))
    assert again.run().idle


@pytest.mark.parametrize(
    ("ending", "request_of_the_next_run"),
    [
        ({"exit": 143, "reason": "Terminated"}, "today"),
        ({"dies": signal.SIGKILL}, "today"),
        ({"exit": 2, "reason": "TooFewRows"}, "tomorrow"),
    ],
)
def test_an_interrupted_request_for_rejected_rows_goes_on_and_one_that_failed_begins_anew(
    prepared, ending, request_of_the_next_run
):
    prepared({"generate": [{"rows": REJECTED}, ending, {}]}).run()
    prepared({"generate": [{}, ending, {}]}, retry_rejected=retry("today"), retry_seconds=()).run()
    again = prepared({"generate": [{}, ending, {}]}, retry_rejected=retry("tomorrow"))
    again.run()
    assert given_request(again)["request"] == request_of_the_next_run


@pytest.mark.parametrize("content", [b"", b"\0" * 900, b'{"name": "con', b"[]"])
def test_run_whose_result_is_damaged_goes_on(prepared, content):
    first = prepared()
    first.run()
    before = saved(first)
    (first.folder / "result.json").write_bytes(content)
    again = prepared()
    assert again.run().idle
    assert saved(again) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 900, b'{"stage": "gen'])
def test_stage_whose_result_is_damaged_runs_again(prepared, content):
    first = prepared()
    first.run()
    (result,) = first.folder.glob("train-*/result.json")
    result.write_bytes(content)
    again = prepared()
    assert again.run().exit_code == 0
    assert [entry for entry in again.listener.entries if "attempt" in entry] == ["train attempt 1"]


def test_stage_whose_rows_are_damaged_runs_again(prepared):
    first = prepared()
    first.run()
    (train,) = first.folder.glob("generate-*/train.jsonl")
    (train.parent / "train.jsonl.crc32").write_bytes(checksums_file([checksum(train.read_bytes())]))
    assert prepared().run().idle
    train.write_bytes(train.read_bytes().replace(b"{", b"["))
    again = prepared()
    again.run()
    assert again.listener.entries == [
        "generate attempt 1",
        "generate Done",
        "train already done",
        "evaluate already done",
    ]


def test_stage_whose_model_is_gone_runs_again(prepared):
    run = prepared()
    run.run()
    (run.folder / saved(run)["files"]["model"]).rmdir()
    again = prepared()
    again.run()
    assert again.listener.entries[:3] == ["generate already done", "train attempt 1", "train Done"]


def test_changed_learning_rate_keeps_the_rows(prepared):
    prepared().run()
    again = prepared(text=MANIFEST + "  training: {learningRate: 0.001}\n")
    again.run()
    assert again.listener.entries[0:2] == ["generate already done", "train attempt 1"]


def test_changed_rows_run_every_stage_again(prepared, tmp_path):
    prepared().run()
    (tmp_path / "rows.jsonl").write_text("{}\n{}\n")
    again = prepared()
    again.run()
    assert again.listener.entries[0] == "generate attempt 1"


def test_until_ends_with_that_stage(prepared):
    run = prepared(until=Stage.GENERATE)
    outcome = run.run()
    assert run.listener.entries == ["generate attempt 1", "generate Done"]
    assert outcome.exit_code == 0
    assert saved(run)["message"] == "all stages up to generate are done"
    assert sorted(saved(run)["files"]) == ["rejected", "train", "validation"]


def test_transient_failure_is_retried(prepared):
    later = {"exit": 3, "reason": "TeacherUnreachable", "message": "no answer"}
    run = prepared({"generate": [later, later, {}]})
    assert run.run().exit_code == 0
    assert run.listener.entries[:5] == [
        "generate attempt 1",
        "generate retries in 0.01 s, attempt 2 of 3",
        "generate attempt 2",
        "generate retries in 0.02 s, attempt 3 of 3",
        "generate attempt 3",
    ]


def test_run_fails_after_the_last_retry(prepared):
    later = {"exit": 3, "reason": "TeacherUnreachable", "message": "no answer from the teacher"}
    run = prepared({"generate": [later] * 3})
    assert run.run().exit_code == 3
    result = saved(run)
    assert (result["state"], result["reason"]) == ("Failed", "TeacherUnreachable")
    assert result["message"] == "generate: no answer from the teacher"


def test_permanent_failure_is_not_retried(prepared):
    failed = {
        "exit": 2,
        "reason": "TooFewRows",
        "message": "only 3 of 9 rows were answered",
        "rows": {"read": 9, "kept": 3, "rejected": 6, "rejectedByReason": {"truncated": 6}},
        "usage": {"requests": 12},
    }
    run = prepared({"generate": [failed]})
    assert run.run().exit_code == 2
    assert run.listener.entries == ["generate attempt 1"]
    result = saved(run)
    assert (result["state"], result["reason"]) == ("Failed", "TooFewRows")
    assert result["rows"]["rejectedByReason"] == {"truncated": 6}
    assert result["usage"]["requests"] == 12


def test_failure_of_a_later_stage_keeps_the_figures_of_earlier_ones(prepared):
    rows = {"read": 9, "kept": 9}
    run = prepared(
        {"generate": [{"rows": rows}], "train": [{"exit": 2, "reason": "InvalidModel", "message": "no tokenizer"}]}
    )
    assert run.run().exit_code == 2
    result = saved(run)
    assert result["message"] == "train: no tokenizer"
    assert result["rows"]["kept"] == 9
    assert sorted(result["files"]) == ["rejected", "train", "validation"]


def test_crash_is_reported_with_its_last_line_and_its_log(prepared):
    run = prepared({"train": [{"exit": 1, "silent": True, "says": "Traceback\nZeroDivisionError: division by zero"}]})
    assert run.run().exit_code == 1
    result = saved(run)
    assert result["reason"] == "TrainingFailed"
    assert "train ended unexpectedly: ZeroDivisionError: division by zero; " in result["message"]
    log = Path(result["message"].split("; for details, see ")[1])
    assert "ZeroDivisionError" in log.read_text()


def test_stage_whose_folder_another_one_uses_says_so(prepared):
    in_use = "Another stage is using the folder train-0123456789 of the workspace (train-0123456789 of tiny on host)."
    run = prepared({"train": [{"exit": 3, "silent": True, "says": f"Rows are read.\n{in_use}"}] * 9})
    assert run.run().exit_code == 3
    assert (saved(run)["reason"], saved(run)["message"]) == ("WorkspaceInUse", f"train: {in_use}")


def test_killed_stage_is_reported_as_out_of_memory(prepared):
    run = prepared({"train": [{"dies": int(signal.SIGKILL)}]})
    assert run.run().exit_code == 137
    assert saved(run)["reason"] == "OutOfMemory"


def test_failed_run_resumes_with_the_failed_stage(prepared):
    prepared({"train": [{"exit": 2, "reason": "InvalidModel", "message": "no tokenizer"}]}).run()
    again = prepared()
    assert again.run().exit_code == 0
    assert again.listener.entries[:2] == ["generate already done", "train attempt 1"]


def when_running(run, stage, action):
    """Acts as soon as the stage's process is at work."""

    def wait():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not list(run.folder.glob(f"{stage}-*/running")):
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_stop_is_forwarded_and_the_run_resumes_later(prepared):
    stop = StopRequest()
    run = prepared({"train": [{"waits": True}]}, stop=stop)
    thread = when_running(run, "train", lambda: stop.note(signal.SIGINT))
    outcome = run.run()
    thread.join()
    assert run.listener.entries[-1] == "train stopping"
    assert outcome.exit_code == 130
    result = saved(run)
    assert (result["state"], result["reason"]) == ("Interrupted", "Terminated")
    assert result["message"] == "stopped during train; all finished work is saved; run the same command again to resume"
    again = prepared()
    assert again.run().exit_code == 0
    assert again.listener.entries[:2] == ["generate already done", "train attempt 1"]


def test_second_stop_kills_a_stage_that_ignores_the_first(prepared):
    stop = StopRequest()
    run = prepared({"generate": [{"ignores_sigterm": True, "waits": True}]}, stop=stop)

    def twice():
        stop.note(signal.SIGTERM)
        time.sleep(1.2)
        stop.note(signal.SIGTERM)

    thread = when_running(run, "generate", twice)
    outcome = run.run()
    thread.join()
    assert outcome.exit_code == 143
    assert run.listener.entries == ["generate attempt 1", "generate stopping"]
    assert saved(run)["state"] == "Interrupted"


def test_stop_while_waiting_for_the_next_attempt_ends_the_run(prepared):
    stop = StopRequest()
    later = {"exit": 3, "reason": "TeacherUnreachable", "message": "no answer"}
    run = prepared({"generate": [later]}, stop=stop, retry_seconds=(60.0,))
    run.listener.retrying = lambda *_: threading.Timer(0.1, stop.note, [signal.SIGINT]).start()
    started = time.monotonic()
    assert run.run().exit_code == 130
    assert time.monotonic() - started < 30
    assert saved(run)["state"] == "Interrupted"


def test_progress_comes_from_the_stage_s_metrics(prepared):
    metrics = (
        'distillery_stage_done{stage="generate",unit="rows"} 12\n'
        'distillery_stage_total{stage="generate",unit="rows"} 40\n'
        'distillery_teacher_requests_total{outcome="ok"} 12\n'
    )
    stop = StopRequest()
    run = prepared({"generate": [{"metrics": metrics, "waits": True}]}, stop=stop)
    run.listener.progressed = lambda stage, reading: (run.listener.metrics.append(reading), stop.note(signal.SIGINT))
    run.run()
    assert run.listener.metrics[0].progress.done == 12
    assert run.listener.metrics[0].progress.total == 40
    assert run.listener.metrics[0].requests == {"ok": 12}


ESTIMATE = {
    "rows": 40,
    "requests": 40,
    "inputTokens": 9000,
    "outputTokens": 200,
    "lowTokens": 8000,
    "highTokens": 14000,
}


def test_estimate_is_reported_once_and_is_in_the_result(prepared):
    metrics = 'distillery_stage_done{stage="generate",unit="rows"} 12\n'
    stop = StopRequest()
    run = prepared({"generate": [{"metrics": metrics, "estimate": ESTIMATE, "waits": True}]}, stop=stop)
    seen = []
    run.listener.progressed = lambda *_: (seen.append(1), len(seen) > 2 and stop.note(signal.SIGINT))
    run.run()
    assert run.listener.entries == ["generate attempt 1", "generate expects 40 requests", "generate stopping"]
    assert saved(run)["estimate"]["inputTokens"] == 9000


def test_each_stage_gets_its_own_secrets_only(prepared):
    run = prepared()
    run.run()
    attempts = {stage: next(run.folder.glob(f"{stage}-*/attempts")) for stage in ("generate", "train", "evaluate")}
    given = {stage: path.read_text() for stage, path in attempts.items()}
    assert given == {"generate": "s3cret \n", "train": " hf_1\n", "evaluate": " hf_1\n"}
    assert not [path for path in run.folder.rglob("*.json") if "s3cret" in path.read_text()]


def test_stage_gets_the_configuration_of_a_job(prepared, tmp_path):
    run = prepared()
    run.run()
    config = json.loads(next(run.folder.glob("train-*/run.json")).read_text())
    assert config["workspace"] == str(tmp_path / "out")
    assert config["basePath"] == str(tmp_path)
    assert list(config["inputs"]) == ["generate"]
    assert (config["metricsHost"], config["metricsPort"]) == ("127.0.0.1", 0)
    assert "terminationMessagePath" not in config or config["terminationMessagePath"] is None


def test_workspace_of_another_run_is_refused(prepared):
    prepared().run()
    other = prepared(text=MANIFEST.replace("name: conjnli", "name: other"))
    with pytest.raises(WorkspaceError, match="is the workspace of conjnli, not of other; choose another folder"):
        other.run()
    assert saved(other)["name"] == "conjnli"


def test_folder_with_a_foreign_result_is_refused(prepared):
    run = prepared()
    run.folder.mkdir()
    (run.folder / "result.json").write_text('{"passed": 3}')
    with pytest.raises(WorkspaceError, match="was not written by distillery"):
        run.run()


def test_folder_that_is_a_file_is_refused(prepared):
    run = prepared()
    run.folder.write_text("")
    with pytest.raises(WorkspaceError, match="is a file; choose a folder"):
        run.run()


def test_folder_is_locked_by_one_run_at_a_time(prepared):
    run = prepared()
    in_use = pytest.raises(WorkspaceError, match=rf"is in use by another run \(process {os.getpid()}\)")
    with opened_workspace(run.folder, "conjnli"), in_use:
        run.run()
    assert run.run().exit_code == 0


def test_stage_that_outlives_its_run_keeps_the_lock(prepared):
    run = prepared({"generate": [{"waits": True}]})
    child = os.fork()
    if child == 0:
        run.run()
        os._exit(0)
    when_running(run, "generate", lambda: os.kill(child, signal.SIGKILL)).join()
    os.waitpid(child, 0)
    with pytest.raises(WorkspaceError, match=r"is in use by another run .* or its last stage"):
        prepared().run()
    orphans = [int(path.name) for path in Path("/proc").glob("[0-9]*") if is_stage_of(path, run.folder)]
    assert len(orphans) == 1
    os.kill(orphans[0], signal.SIGTERM)


def is_stage_of(process, folder):
    try:
        return str(folder).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_run_that_could_not_start_keeps_the_figures_of_earlier_ones(prepared, tmp_path):
    rows = {"read": 9, "kept": 9}
    run = prepared({"generate": [{"rows": rows}]})
    run.run()
    record_failure(run.folder, "conjnli", local_run.Reason.INVALID_DATA, "there is no rows.jsonl")
    result = saved(run)
    assert (result["state"], result["reason"], result["message"]) == ("Failed", "InvalidData", "there is no rows.jsonl")
    assert result["rows"]["kept"] == 9


def test_missing_libraries_say_how_to_install_them(prepared):
    run = prepared({"missing_libraries": ["torch", "trl"]})
    with pytest.raises(TrainerMissing, match=r"\(torch, trl\); run in a checkout of .* '\.\[trainer\]'"):
        run.run()
    assert run.listener.entries == []


def test_nothing_left_to_do_needs_no_trainer(prepared):
    prepared().run()
    assert prepared({"missing_libraries": ["torch"]}).run().idle


def test_run_without_retries_fails_at_once(prepared):
    later = {"exit": 3, "reason": "TeacherUnreachable", "message": "no answer"}
    run = replace(prepared({"generate": [later, {}]}), retry_seconds=())
    assert run.run().exit_code == 3


GATED = MANIFEST + "  evaluation: {gate: {minScore: 0.8}}\n"
SCORED = {"evaluate": [{"evaluation": {"sampleSize": 4, "student": {"score": 0.75}}}]}


def test_a_student_below_its_gate_fails_the_run_with_an_exit_code_of_its_own(prepared):
    run = prepared(SCORED, text=GATED)
    outcome = run.run()
    assert (outcome.exit_code, outcome.idle) == (4, False)
    result = saved(run)
    assert (result["state"], result["reason"]) == ("Failed", "QualityGateFailed")
    assert result["message"] == "quality gate: score 0.75 is below minScore 0.8"
    assert result["evaluation"]["gate"] == {"met": False, "message": "score 0.75 is below minScore 0.8"}


def test_a_lower_bound_of_the_gate_runs_no_stage_again(prepared):
    prepared(SCORED, text=GATED).run()
    again = prepared(text=GATED.replace("0.8", "0.7"))
    outcome = again.run()
    assert (outcome.exit_code, outcome.idle) == (0, True)
    assert saved(again)["evaluation"]["gate"] == {"met": True, "message": "score 0.75 is at least minScore 0.7"}


def test_a_run_that_ends_before_the_evaluation_knows_no_gate(prepared):
    assert prepared(text=GATED, until=Stage.TRAIN).run().exit_code == 0


PUBLISHED = MANIFEST + "  publication: {hub: {repository: team/student, credentials: {secretName: publisher}}}\n"
REVISION = "hf://team/student@0123456789abcdef0123456789abcdef01234567"


def test_a_student_goes_to_the_hub_with_the_credentials_of_the_hub_and_no_others(prepared):
    run = prepared({"publish": [{"hubRevision": REVISION}]}, text=PUBLISHED)
    outcome = run.run()
    assert (outcome.exit_code, run.listener.entries[-2:]) == (0, ["publish attempt 1", "publish Done"])
    (folder,) = run.folder.glob("publish-*")
    config = json.loads((folder / "run.json").read_text())
    assert config["hub"] == {
        "repository": "team/student",
        "branch": "main",
        "private": True,
        "credentials": {"secretName": "publisher"},
    }
    assert sorted(config["inputs"]) == ["evaluate", "generate", "train"]
    assert (folder / "attempts").read_text() == " hf_2\n"
    assert (saved(run)["hubRevision"], saved(run)["message"]) == (REVISION, "all stages are done")
    assert prepared(text=PUBLISHED).run().idle


def test_a_student_that_fails_the_gate_goes_to_no_hub(prepared):
    gated = PUBLISHED + "  evaluation: {gate: {minScore: 0.8}}\n"
    run = prepared(SCORED, text=gated)
    assert (run.run().exit_code, run.listener.entries[-1]) == (4, "evaluate Done")
    lower = prepared({"publish": [{"hubRevision": REVISION}]}, text=gated.replace("0.8", "0.7"))
    assert (lower.run().exit_code, lower.listener.entries[-1]) == (0, "publish Done")
    assert saved(lower)["evaluation"]["gate"] == {"met": True, "message": "score 0.75 is at least minScore 0.7"}


def test_a_hub_that_refuses_fails_the_run_which_goes_on_from_there(prepared):
    refused = {"exit": 2, "reason": "PublishFailed", "message": "the Hub does not know the token"}
    run = prepared({"publish": [refused]}, text=PUBLISHED)
    assert run.run().exit_code == 2
    result = saved(run)
    assert (result["state"], result["reason"]) == ("Failed", "PublishFailed")
    assert result["message"] == "publish: the Hub does not know the token"
    again = prepared(text=PUBLISHED)
    again.run()
    assert again.listener.entries == [
        "generate already done",
        "train already done",
        "evaluate already done",
        "publish attempt 1",
        "publish Done",
    ]


def test_a_run_until_evaluate_publishes_nothing(prepared):
    run = prepared(text=PUBLISHED, until=Stage.EVALUATE)
    assert (run.run().exit_code, run.listener.entries[-1]) == (0, "evaluate Done")


def test_a_local_run_pushes_no_image(prepared):
    image = "  serving: {modelImage: {repository: registry.example/student}}\n"
    run = prepared(text=MANIFEST + image)
    assert (run.run().exit_code, run.listener.entries[-1]) == (0, "evaluate Done")
