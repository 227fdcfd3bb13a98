"""A loopback teacher that is never the bottleneck: every chat request gets the same short answer after a fixed time,
or, where it is told to, is turned away or fails at random.

HTTP/1.1 spoken by hand on an asyncio protocol, so that one core serves several thousand requests a second.
`python server.py --port 0 --latency 0.2` prints its port and serves until it is terminated.
"""

import argparse
import asyncio
import json
import random
import signal

ANSWER = json.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "teacher",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": "entailment", "refusal": None},
            }
        ],
        "usage": {"prompt_tokens": 120, "completion_tokens": 3, "total_tokens": 123},
    }
).encode()
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + str(len(ANSWER)).encode() + b"\r\n\r\n"
) + ANSWER

SLOW_DOWN = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: 58\r\n\r\n"
    b'{"error": {"message": "Slow down.", "code": "rate_limit"}}'
)
BROKEN = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 51\r\n\r\n"
    b'{"error": {"message": "Oops.", "code": "internal"}}'
)


class Teacher(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, latency: float, limited: float, broken: float, rng: random.Random) -> None:
        self.latency, self.limited, self.broken, self.rng = latency, limited, broken, rng
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if end and len(body) >= content_length(head):
            self.received = body[content_length(head) :]
            self.answer_later()

    def answer_later(self) -> None:
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self.answer)
        else:
            self.answer()

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.reply())

    def reply(self) -> bytes:
        if not self.limited and not self.broken:
            return REPLY
        chance = self.rng.random()
        if chance < self.limited:
            return SLOW_DOWN
        return BROKEN if chance < self.limited + self.broken else REPLY


def content_length(head: bytes) -> int:
    """The length of the body that a request's head announces."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, latency: float, limited: float, broken: float) -> None:
    """Serve on loopback until SIGTERM."""
    rng = random.Random(1)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(lambda: Teacher(latency, limited, broken, rng), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--limited", type=float, default=0.0, help="share of requests that get 429, Retry-After: 1")
    parser.add_argument("--broken", type=float, default=0.0, help="share of requests that get 500")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, chosen.latency, chosen.limited, chosen.broken))
