"""A registry for tests: what of the OCI distribution API a push takes, with both kinds of authentication and failures
on demand. It holds nothing that its digest does not fit, and no manifest whose blobs it lacks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from loopback import answering, loopback_server

RESET = 0
"""A fault: the connection is reset in the middle of the request."""


@dataclass
class RegistryServer:
    """What the registry holds and how it behaves; its fields may be changed while it runs."""

    users: dict[str, str] = field(default_factory=dict)
    """Passwords by name; without any, all may push."""
    challenge: str = "Basic"
    """How it asks who is there: Basic, or Bearer with a token of its own."""
    tokens_last: int = 1000
    """The number of requests that a token is good for."""
    readers: tuple[str, ...] = ()
    """Users who may not push."""
    faults: list[tuple[str, int]] = field(default_factory=list)
    """A method, and the status with which the next request of it is answered, or RESET; in their order."""
    missing: bool = False
    """Whether it knows no repository and makes none."""
    absolute_locations: bool = True
    """Whether it says where to upload with scheme and host."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """METHOD and path of each request, in their order."""
    token_requests: list[str] = field(default_factory=list)
    """The Authorization header of each request for a token."""
    host: str = ""
    _tokens: dict[str, int] = field(default_factory=dict)

    def uploads(self) -> int:
        """How many blobs were sent."""
        return sum(request.startswith("PUT") and "/uploads/" in request for request in self.requests)

    def files(self, tag: str) -> dict[str, tarfile.TarInfo]:
        """The headers of everything in the image, by path."""
        return {member.name: member for archive in self._archives(tag) for member in archive.getmembers()}

    def content(self, tag: str, path: str) -> bytes:
        """A file of the image."""
        for archive in self._archives(tag):
            if path in archive.getnames():
                return archive.extractfile(path).read()
        raise KeyError(path)

    def manifest(self, tag: str) -> dict:
        """The manifest under a tag."""
        return json.loads(self.manifests[self.tags[tag]])

    def _archives(self, tag: str) -> Iterator[tarfile.TarFile]:
        for layer in self.manifest(tag)["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self.blobs[layer["digest"]])) as archive:
                yield archive

    def token(self, authorization: str) -> str | None:
        """A token for whoever shows a right password, and for nobody else."""
        self.token_requests.append(authorization)
        if self._is_user(authorization):
            token = f"token-{len(self.token_requests)}"
            self._tokens[token] = self.tokens_last
            return token
        return None

    def refusal(self, authorization: str) -> int | None:
        """The status for a request with this header, or None where it is let in."""
        if not self.users:
            return None
        scheme, _, value = authorization.partition(" ")
        if scheme == "Bearer" and self.challenge == "Bearer" and self._tokens.get(value, 0) > 0:
            self._tokens[value] -= 1
            return None
        if self.challenge == "Bearer" or not self._is_user(authorization):
            return 401
        name = base64.b64decode(value).decode().partition(":")[0]
        return 403 if name in self.readers else None

    def _is_user(self, authorization: str) -> bool:
        pairs = (f"{name}:{password}" for name, password in self.users.items())
        return authorization in [f"Basic {base64.b64encode(pair.encode()).decode()}" for pair in pairs]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: RegistryServer

    def do_GET(self) -> None:
        token = self.registry.token(self.headers.get("Authorization", ""))
        self._answer(200 if token else 401, json.dumps({"token": token}).encode())

    def do_HEAD(self) -> None:
        if self._begins():
            _, _, digest = self.path.rpartition("/")
            held = self.registry.blobs if "/blobs/" in self.path else self.registry.manifests
            self._answer(200 if digest in held else 404, digest=digest)

    def do_POST(self) -> None:
        if not self._begins():
            return
        if self.registry.missing:
            self._error(404, "NAME_UNKNOWN", "repository name not known to registry")
            return
        origin = f"http://{self.registry.host}" if self.registry.absolute_locations else ""
        self._answer(202, location=f"{origin}{urlsplit(self.path).path}7?state=a%2Fb")

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        if self.registry.faults and self.registry.faults[0] == ("PUT", RESET):
            self.rfile.read(length // 2)
            self.registry.faults.pop(0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if self._begins():
            self._store(body)

    def _store(self, body: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if "/manifests/" in self.path:
            content = json.loads(body)
            if any(each["digest"] not in self.registry.blobs for each in (*content["layers"], content["config"])):
                self._error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
                return
            self.registry.manifests[digest] = body
            self.registry.tags[self.path.rpartition("/")[2]] = digest
        else:
            query = parse_qs(urlsplit(self.path).query)
            if query.get("digest") != [digest] or query.get("state") != ["a/b"]:
                self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
                return
            self.registry.blobs[digest] = body
        self._answer(201)

    def _begins(self) -> bool:
        """Whether the request is to be answered as usual; else it is answered otherwise."""
        self.registry.requests.append(f"{self.command} {self.path}")
        if self.registry.faults and self.registry.faults[0][0] == self.command:
            _, status = self.registry.faults.pop(0)
            self._error(status, "UNAVAILABLE", "try again")
            return False
        status = self.registry.refusal(self.headers.get("Authorization", ""))
        if status:
            self._error(status, "DENIED", "requested access to the resource is denied")
            return False
        return True

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode())

    def _answer(self, status: int, body: bytes = b"", location: str | None = None, digest: str = "") -> None:
        self.send_response(status)
        if digest and status == 200:
            self.send_header("Docker-Content-Digest", digest)
        if status == 401:
            realm = f'Bearer realm="http://{self.registry.host}/token",service="tests",scope="repository:x:pull"'
            self.send_header(
                "WWW-Authenticate", realm if self.registry.challenge == "Bearer" else 'Basic realm="tests"'
            )
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def registry_server(**options: object) -> Iterator[RegistryServer]:
    """A registry on loopback for the length of a block."""
    registry = RegistryServer(**options)
    with answering(loopback_server(_Handler, registry=registry)) as address:
        registry.host = address
        yield registry
