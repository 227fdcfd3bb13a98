"""A server of files for tests: plain HTTP, and what of S3, Azure and Google Cloud Storage reading a file takes."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import answering, loopback_server

_DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


@dataclass
class FileServer:
    """What the server has and how it behaves; its fields may be changed while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path, such as /bucket/rows.jsonl."""
    status: int | None = None
    """Every request is answered with this status instead."""
    ranges: bool = True
    """Whether parts of a file are given."""
    chunked: bool = False
    """Whether the length of a file is kept secret."""
    key: str | None = None
    """What the Authorization header must hold."""
    cut_off: int = 0
    """How many of the next answers end in the middle."""
    failures: int = 0
    """How many of the next requests are answered with 503."""
    content_encoding: str | None = None
    """The Content-Encoding of every file."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Where requests for a path are sent, by path."""
    credentials: list[str] = field(default_factory=list)
    """The Authorization header of each request that has one."""
    requests: list[str] = field(default_factory=list)
    """METHOD PATH of each request, in their order."""
    url: str = ""

    def _refusal(self, path: str, authorization: str) -> int | None:
        if self.failures:
            self.failures -= 1
            return 503
        if self.key and self.key not in authorization:
            return 403
        return self.status or (None if path in self.files else 404)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_PUT(self) -> None:
        self._answer(with_body=True)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.files.requests.append(f"{self.command} {path}")
        self.files.credentials.extend(self.headers.get_all("Authorization", []))
        if target := self.files.redirects.get(path):
            self._send(302, b"", {"Location": target}, with_body)
            return
        if "list-type=2" in self.path and self.files.key in (None, ""):
            self._send(200, self._listing(path), {"Content-Type": "application/xml"}, with_body)
            return
        if refusal := self.files._refusal(path, self.headers.get("Authorization", "")):
            self._send(refusal, _DENIED, {"Content-Type": "application/xml"}, with_body)
            return
        content = self.files.files[path]
        # An entity tag that follows the content, as servers give it.
        headers = {"ETag": f'"{hash(content):x}"', "Last-Modified": "Wed, 01 Jul 2026 07:28:00 GMT"}
        if self.files.content_encoding:
            headers["Content-Encoding"] = self.files.content_encoding
        wanted = self.headers.get("Range")
        if wanted and self.files.ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self._send(206, content[start : end + 1], headers, with_body)
        else:
            self._send(200, content, headers, with_body)

    def _listing(self, bucket: str) -> bytes:
        """The objects of a bucket whose keys begin as the request says, as S3 lists them."""
        query = parse_qs(urlsplit(self.path).query)
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys = [path.removeprefix(f"{bucket}/") for path in self.files.files if path.startswith(f"{bucket}/")]
        below = sorted(key for key in keys if key.startswith(prefix))
        deeper = [key for key in below if delimiter and delimiter in key[len(prefix) :]]
        folders = sorted({prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter for key in deeper})
        objects = [
            f"<Contents><Key>{key}</Key><Size>{len(self.files.files[f'{bucket}/{key}'])}</Size><ETag>x</ETag>"
            "<LastModified>2026-07-01T07:28:00.000Z</LastModified></Contents>"
            for key in below
            if key not in deeper
        ]
        prefixes = [f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders]
        return f"<ListBucketResult>{''.join([*objects, *prefixes])}</ListBucketResult>".encode()

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.files.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        if self.files.cut_off and status < 300:
            self.files.cut_off -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)


@contextlib.contextmanager
def file_server(certificate: Path | None = None, key: Path | None = None) -> Iterator[FileServer]:
    """A running server, with TLS where it has a certificate."""
    files = FileServer()
    server = loopback_server(_Handler, files=files)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with answering(server) as address:
        files.url = f"{'https' if certificate else 'http'}://{address}"
        yield files
