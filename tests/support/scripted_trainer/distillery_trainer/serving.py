"""Plays the server: healthy, one answer for all, if the model folder is there.

The file `refuse` in the folder makes it end at its start with an error, as a broken model does.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"} if self.path == "/health" else {"data": [{"id": NAME}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": f"{NAME} says entailment"}
        self.answer({"model": NAME, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def option(name):
    return next(each.partition("=")[2] for each in sys.argv if each.startswith(f"{name}="))


NAME, FOLDER = option("--name"), Path(option("--model"))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has no default for it
if not FOLDER.is_dir() or (FOLDER / "refuse").exists():
    sys.exit(f"{FOLDER} is not a model folder")
ThreadingHTTPServer((option("--host"), int(option("--port"))), Answers).serve_forever()
