"""A stand-in for the Hugging Face Hub: one model's files, or a refusal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from loopback import answering, loopback_server

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """What the server has and how it behaves; its fields may be changed while it runs."""

    folder: Path
    """Holds the files of hf://org/small."""
    listed: tuple[str, ...] = ()
    """Files that are listed without being there."""
    refusal: tuple[int, str] | None = None
    """Status and error code that requests are answered with instead, such as (403, "GatedRepo")."""
    gated: bool = False
    """Whether files are refused, though the model is described."""
    requests: list[str] = field(default_factory=list)
    """METHOD PATH of each request."""
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""
    url: str = ""

    @property
    def names(self) -> list[str]:
        return [*self.listed, *(path.name for path in self.folder.iterdir() if path.suffix != ".safetensors")]

    @property
    def tree(self) -> bytes:
        return json.dumps([{"type": "file", "path": name, "size": 1, "oid": name} for name in self.names]).encode()

    @property
    def description(self) -> bytes:
        about = {"id": "org/small", "sha": _COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
        return json.dumps({**about, "siblings": [{"rfilename": name} for name in self.names]}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    def _answer(self, *, with_body: bool) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.append(self.headers.get("Authorization"))
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.hub.refusal is not None:
            self._send(self.hub.refusal[0], b"{}", {"X-Error-Code": self.hub.refusal[1]}, with_body=with_body)
        elif self.path.startswith("/api/models/org/small"):
            content = self.hub.tree if "/tree/" in self.path else self.hub.description
            self._send(200, content, {"Content-Type": "application/json"}, with_body=with_body)
        elif self.hub.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body=with_body)
        elif self.path.startswith("/org/small/resolve/") and (self.hub.folder / name).is_file():
            headers = {"ETag": f'"{name}"', "X-Repo-Commit": _COMMIT}
            self._send(200, (self.hub.folder / name).read_bytes(), headers, with_body=with_body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@contextlib.contextmanager
def hub_server(folder: Path) -> Iterator[HubServer]:
    """The server, for the length of a block."""
    hub = HubServer(folder)
    with answering(loopback_server(_Handler, hub=hub)) as address:
        hub.url = f"http://{address}"
        yield hub
