"""Plays one attempt of the script in the variable SCRIPT: `{"generate": [{"exit": 3, …}, {}], …}`; `{}` succeeds.

Keys of an attempt: exit, reason, message, silent (no result.json), says (on stderr), metrics (Prometheus text),
estimate, waits (until SIGTERM, or a file `go on` in the workspace), ignores_sigterm, dies (of that signal), rows,
rowsRevision, usage, evaluation, hubRevision, verification (default: all rows alike). Beside the stages,
`missing_libraries` names libraries that are not installed.
Speaks plain JSON: importing the API would take longer than everything else here.
"""

import fcntl
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

ARTEFACTS = {
    "generate": ("train.jsonl", "validation.jsonl", "rejected.jsonl"),
    "train": ("adapter/", "model/"),
    "evaluate": ("predictions.jsonl",),
    "publish": (),
    "verify": ("served-replies.jsonl",),
}
VERIFIED = {"rows": 16, "alike": 16, "requiredShare": 1.0, "latencySeconds": 0.2, "calls": 20}
FIGURES = ("rows", "rowsRevision", "usage", "estimate", "evaluation", "hubRevision", "verification")
REPORTED = ("reason", "message", *FIGURES)


def main():
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    if sys.argv[1] == "estimate":
        return estimate(config)
    assert sys.argv[1] == config["stage"]
    folder = Path(config["workspace"]) / config["folder"]
    attempt = next_attempt(folder, config["stage"])
    print(attempt.get("says", ""), file=sys.stderr, flush=True)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if attempt.get("ignores_sigterm") else lambda *_: stopped.set())
    if "metrics" in attempt:
        serve(config, folder / "metrics-port", attempt["metrics"], json.dumps(attempt.get("estimate")))
    (folder / "running").touch()
    lock = only_writer(Path(config["workspace"]))
    if attempt.get("waits"):
        attempt |= waited(Path(config["workspace"]) / "go on", stopped)
    if "dies" in attempt:
        os.kill(os.getpid(), attempt["dies"])
    if not attempt.get("silent"):
        report(config, folder, json.dumps(result(config, attempt)))
    lock.close()
    return attempt.get("exit", 0)


def only_writer(workspace):
    """The workspace's lock for as long as this process lives; a second process in it leaves a mark."""
    lock = (workspace / ".writer").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        (workspace / "two-writers").touch()
    return lock


def estimate(config):
    """Plays `estimate`: the attempt's `estimate` on standard output, with what it was started with in its basis."""
    attempt = json.loads(os.environ.get("SCRIPT", "{}")).get("estimate", [{}])[0]
    print(attempt.get("says", ""), file=sys.stderr, end="")
    given = {"arguments": sys.argv[4:], "workspace": config["workspace"], "folder": config["folder"]}
    if "estimate" in attempt:
        print(json.dumps({**attempt["estimate"], "basis": json.dumps(given)}))
    return attempt.get("exit", 0)


def waited(signal_file, stopped):
    """What the wait came to: it was stopped, unless the test told it to go on."""
    while not stopped.wait(0.05):
        if signal_file.exists():
            return {}
    return {"exit": 143, "reason": "Terminated", "message": "stopped"}


def report(config, folder, text):
    (folder / "result.json").write_text(text)
    if config.get("terminationMessagePath"):
        Path(config["terminationMessagePath"]).write_text(text)


def next_attempt(folder, stage):
    folder.mkdir(exist_ok=True)
    log = folder / "attempts"
    number = len(log.read_text().splitlines()) if log.exists() else 0
    with log.open("a") as file:
        file.write(f"{os.environ.get('DISTILLERY_API_KEY_0', '')} {os.environ.get('HF_TOKEN', '')}\n")
    attempts = json.loads(os.environ.get("SCRIPT", "{}")).get(stage, [])
    return dict(attempts[number]) if number < len(attempts) else {}


def result(config, attempt):
    code = attempt.get("exit", 0)
    files = {} if code else {Path(name).stem: f"{config['folder']}/{name}" for name in ARTEFACTS[config["stage"]]}
    for path in files.values():
        artefact = Path(config["workspace"]) / path
        artefact.mkdir(exist_ok=True) if path.endswith("/") else artefact.write_text("{}\n")
    if config.get("baseFolder") and not code:
        for path in (config["baseFolder"], f"adapters/{config['folder']}"):
            (Path(config["workspace"]) / path).mkdir(parents=True, exist_ok=True)
    if config["stage"] == "verify" and not code:
        attempt.setdefault("verification", VERIFIED)
    given = {key: attempt[key] for key in REPORTED if key in attempt}
    now = datetime.now(UTC).isoformat()
    state = "Failed" if code else "Done"
    named = {"stage": config["stage"], "folder": config["folder"], "state": state, "exitCode": code, "files": files}
    return {**named, "startTime": now, "completionTime": now, **given}


def serve(config, port_file, metrics, estimate):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write((estimate if self.path == "/estimate" else metrics).encode())

        def log_message(self, *arguments):
            pass

    server = HTTPServer((config["metricsHost"], config["metricsPort"]), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port_file.write_text(str(server.server_port))


sys.exit(main())
