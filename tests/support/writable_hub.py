"""A stand-in for the Hugging Face Hub to push to: repositories with branches and commits, files large and small, tokens
that may write, read or nothing, and failures on demand. Requests arrive as the library sends them, over HTTP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loopback import answering, loopback_server

LARGE = 1024
"""Bytes from which a file goes to the large files' storage, unless it is text for people; on the Hub it is 10 MB."""
_TEXT = (".md", ".txt", ".json", ".jinja", "SHA256SUMS", ".gitattributes")
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class InXet:
    """A large file whose content lies in the storage of Xet."""

    digest: str
    size: int

    def __len__(self) -> int:
        return self.size


@dataclass
class Commit:
    """One commit of a repository."""

    oid: str
    title: str
    files: dict[str, bytes | InXet]


@dataclass
class Repository:
    """A model's repository: the commits of each branch, the oldest first."""

    private: bool = False
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.branches.setdefault("main", [Commit(_oid("main", 0), "initial commit", {".gitattributes": ATTRIBUTES})])

    def commits(self, revision: str) -> list[Commit]:
        """The commits up to a branch's newest one, or up to one that is named. Raises KeyError."""
        if revision in self.branches:
            return self.branches[revision]
        for commits in self.branches.values():
            for number, commit in enumerate(commits, start=1):
                if commit.oid == revision:
                    return commits[:number]
        raise KeyError(revision)

    def files(self, revision: str = "main") -> dict[str, bytes | InXet]:
        """The files of a branch or a commit."""
        return self.commits(revision)[-1].files


@dataclass
class WritableHub:
    """What the server has and how it behaves; its fields may be changed while it runs."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    """By ORG/NAME."""
    writers: tuple[str, ...] = ("hf_writer",)
    """Tokens that may write to all repositories, and make new ones of the organisations."""
    readers: tuple[str, ...] = ()
    """Tokens that may read."""
    organisations: tuple[str, ...] = ("team",)
    """Where the writers may make repositories."""
    refusals: list[tuple[str, int, str]] = field(default_factory=list)
    """Part of a path, status and words of refusals, each for one request whose path has that part."""
    on_upload: Callable[[str], object] = lambda digest: None
    """Called with the digest of each large file once it is stored, before the answer."""
    large: dict[str, bytes] = field(default_factory=dict)
    """Contents of the large files' storage, by SHA-256."""
    xet: Path | None = None
    """Folder in which clients that speak Xet store large files; None where they send them over HTTP."""
    requests: list[str] = field(default_factory=list)
    """METHOD PATH of each request."""
    url: str = ""

    def uploaded(self) -> list[str]:
        """The digests of the large files that were sent, in order."""
        return [request.rpartition("/")[2] for request in self.requests if request.startswith("PUT /large/")]


def _oid(*parts: object) -> str:
    return hashlib.sha1(repr(parts).encode()).hexdigest()


def _sha256(content: bytes | InXet) -> str:
    return content.digest if isinstance(content, InXet) else hashlib.sha256(content).hexdigest()


def _git_blob(content: bytes | InXet) -> str:
    if isinstance(content, InXet):
        return _oid(content.digest)
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_large(path: str, size: int) -> bool:
    return size >= LARGE and not path.endswith(_TEXT)


class _Refused(Exception):
    def __init__(self, status: int, words: str, code: str = "") -> None:
        super().__init__(words)
        self.status, self.words, self.code = status, words, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: WritableHub

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            self._refuse_on_demand(path)
            if self.command == "PUT":
                self._store(path, body)
            elif path.endswith(".git/info/lfs/objects/batch"):
                self._batch(path, json.loads(body))
            elif path == "/api/validate-yaml":
                self._send({"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                self._create(json.loads(body))
            elif path.startswith("/api/models/"):
                self._model(path, body)
            else:
                self._resolve(path)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.words}
            self._send({"error": refused.words}, refused.status, headers)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _refuse_on_demand(self, path: str) -> None:
        for refusal in self.hub.refusals:
            part, status, words = refusal
            if part in path:
                self.hub.refusals.remove(refusal)
                raise _Refused(status, words)

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _may_read(self, repository: Repository | None) -> bool:
        known = self._token() in (*self.hub.writers, *self.hub.readers)
        if self._token() and not known:
            raise _Refused(401, "Invalid credentials in Authorization header")
        return repository is not None and (known or not repository.private)

    def _must_write(self, words: str = "You don't have the rights to commit to this repository") -> None:
        if self._token() not in self.hub.writers:
            raise _Refused(403, words)

    def _repository(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if not self._may_read(repository) or repository is None:
            raise _Refused(404, "Repository not found", "RepoNotFound")
        return repository

    def _commits(self, repository: Repository, revision: str) -> list[Commit]:
        try:
            return repository.commits(revision)
        except KeyError:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None

    # --- requests

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        self._may_read(None)
        if wanted["organization"] not in self.hub.organisations or self._token() not in self.hub.writers:
            raise _Refused(403, f"You don't have the rights to create a model under {wanted['organization']}")
        if name in self.hub.repositories:
            raise _Refused(409, "You already created this model repo")
        self.hub.repositories[name] = Repository(private=wanted.get("visibility") == "private")
        self._send({"url": f"{self.hub.url}/{name}"})

    def _model(self, path: str, body: bytes) -> None:
        organisation, short, *rest = path.removeprefix("/api/models/").split("/", 3)
        name = f"{organisation}/{short}"
        repository = self._repository(name)
        what, revision = rest[0] if rest else "revision", rest[1] if len(rest) > 1 else "main"
        if what == "branch":
            self._branch(repository, revision, json.loads(body))
            return
        commits = self._commits(repository, revision)
        if what == "xet-write-token":
            self._must_write()
            self._send({"casUrl": f"local://{self.hub.xet}", "accessToken": "xet", "exp": 4102444800})
        elif what == "revision":
            about = {"id": name, "sha": commits[-1].oid, "private": repository.private, "tags": []}
            self._send({**about, "siblings": [{"rfilename": each} for each in commits[-1].files]})
        elif what == "tree":
            self._send(list(self._top(commits[-1].files)))
        elif what == "preupload":
            self._must_write()
            self._send({"files": [self._mode(commits[-1], each) for each in json.loads(body)["files"]]})
        else:
            self._must_write()
            self._commit(name, commits, [json.loads(line) for line in body.splitlines()])

    def _branch(self, repository: Repository, name: str, wanted: dict[str, Any]) -> None:
        self._must_write()
        repository.branches[name] = list(self._commits(repository, wanted.get("startingPoint", "main")))
        self._send({})

    def _top(self, files: dict[str, bytes | InXet]) -> Iterator[dict[str, Any]]:
        """What lies at the top of a repository; the library asks for no more."""
        for folder in sorted({path.partition("/")[0] for path in files if "/" in path}):
            yield {"type": "directory", "path": folder, "oid": _oid(folder)}
        for path, content in files.items():
            if "/" not in path:
                yield self._entry(path, content)

    def _entry(self, path: str, content: bytes | InXet) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(content), "oid": _git_blob(content)}
        if not _is_large(path, len(content)):
            return entry
        return {**entry, "lfs": {"oid": _sha256(content), "size": len(content), "pointerSize": 134}}

    def _mode(self, head: Commit, wanted: dict[str, Any]) -> dict[str, Any]:
        path, large = wanted["path"], _is_large(wanted["path"], wanted["size"])
        mode = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if path not in head.files:
            return mode
        content = head.files[path]
        return {**mode, "oid": _sha256(content) if _is_large(path, len(content)) else _git_blob(content)}

    def _batch(self, path: str, wanted: dict[str, Any]) -> None:
        self._repository(path.strip("/").removesuffix(".git/info/lfs/objects/batch"))
        self._must_write()
        objects = []
        for each in wanted["objects"]:
            href = f"{self.hub.url}/large/{each['oid']}"
            actions = {} if each["oid"] in self.hub.large else {"actions": {"upload": {"href": href}}}
            objects.append({**each, **actions})
        self._send({"transfer": "basic", "objects": objects})

    def _store(self, path: str, body: bytes) -> None:
        digest = path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != digest:
            raise _Refused(400, "the content has another digest")
        self.hub.large[digest] = body
        self.hub.on_upload(digest)
        self._send({})

    def _commit(self, name: str, commits: list[Commit], lines: list[dict[str, Any]]) -> None:
        header, files = lines[0]["value"], dict(commits[-1].files)
        if header.get("parentCommit", commits[-1].oid) != commits[-1].oid:
            raise _Refused(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                in_xet = InXet(value["oid"], value["size"])
                files[value["path"]] = in_xet if self.hub.xet else self.hub.large[value["oid"]]
            else:
                del files[value["path"]]
        commit = Commit(_oid(commits[-1].oid, sorted(files.items())), header["summary"], files)
        commits.append(commit)
        self._send({"commitUrl": f"{self.hub.url}/{name}/commit/{commit.oid}", "commitOid": commit.oid})

    def _resolve(self, path: str) -> None:
        organisation, short, _, revision, file = path.strip("/").split("/", 4)
        commit = self._commits(self._repository(f"{organisation}/{short}"), revision)[-1]
        if file not in commit.files:
            raise _Refused(404, "Entry not found", "EntryNotFound")
        content = commit.files[file]
        assert isinstance(content, bytes), "what lies in Xet is not sent over HTTP"
        self._send(content, headers={"ETag": f'"{_git_blob(content)}"', "X-Repo-Commit": commit.oid})

    def _send(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def writable_hub(**options: Any) -> Iterator[WritableHub]:
    """The server on loopback, for the length of a block."""
    hub = WritableHub(**options)
    with answering(loopback_server(_Handler, hub=hub)) as address:
        hub.url = f"http://{address}"
        yield hub
