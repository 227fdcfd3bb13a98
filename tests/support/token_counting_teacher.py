"""A teacher that counts with a real tokenizer, and shares no code with what it checks.

It answers requests for a label with reasons of very different lengths, always the same for the same request, and adds
up the input and output tokens that it reports.
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random

from tokenizers import Tokenizer

from loopback import answering, loopback_server

LABELS = ("entailment", "neutral", "contradiction")
REASON_WORDS = (
    "the premise states that a person reads while the hypothesis claims more and nothing in it rules that out"
)


class TokenCountingTeacher:
    """What was asked so far."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._lock = threading.Lock()
        self.requests = self.input_tokens = self.output_tokens = 0

    def answer(self, messages: list[dict[str, str]]) -> dict[str, object]:
        """The body of a completion."""
        rng = Random(hashlib.sha256(json.dumps(messages).encode()).digest())
        reason = " ".join(rng.choices(REASON_WORDS.split(), k=rng.randint(5, 80)))
        content = json.dumps({"reason": reason, "answer_choice": rng.choice(LABELS)})
        chat = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        read, written = self._count(chat + "<|im_start|>assistant\n"), self._count(content + "<|im_end|>")
        with self._lock:
            self.requests += 1
            self.input_tokens += read
            self.output_tokens += written
        return {
            "id": f"chat-{self.requests}",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))


@contextmanager
def token_counting_teacher(tokenizer: Path):
    """The teacher, and its base URL."""
    teacher = TokenCountingTeacher(tokenizer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(teacher.answer(request["messages"])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with answering(loopback_server(Handler)) as address:
        yield teacher, f"http://{address}/v1"
