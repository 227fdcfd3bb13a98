"""The few calls to the API server that the node makes, as plain dicts.

The node must survive an API server that is cut off: every failure to reach it is an ApiUnreachable, which callers
answer by trying again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

Object = dict[str, Any]

TIMEOUT_SECONDS = 10
WATCH_SECONDS = 60
RETRY_SECONDS = 0.3
PATCH_TYPES = {"merge": "application/merge-patch+json", "strategic": "application/strategic-merge-patch+json"}


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ApiError):
    """The object is not there (any more)."""


class ApiUnreachable(Exception):
    """The API server did not answer."""


class KubeApi:
    """A connection to one API server; safe to share between threads."""

    def __init__(self, server: str, authority: Path, token: str) -> None:
        self._server, self._authority, self._token = server, str(authority), token
        self._local = threading.local()

    def get(self, path: str, **parameters: str) -> Object:
        """Read an object or a list."""
        return self._request("GET", path, params=parameters)

    def create(self, path: str, body: Object) -> Object:
        """Create an object."""
        return self._request("POST", path, json=body)

    def patch(self, path: str, body: Object, kind: str = "merge") -> Object:
        """Patch an object; `kind` is merge or strategic."""
        headers = {"Content-Type": PATCH_TYPES[kind]}
        return self._request("PATCH", path, data=json.dumps(body), headers=headers)

    def delete(self, path: str, body: Object | None = None) -> None:
        """Delete an object; one that is gone already is fine."""
        try:
            self._request("DELETE", path, json=body or {})
        except NotFound:
            return

    def watch(self, path: str, version: str, **parameters: str) -> Iterator[tuple[str, Object]]:
        """Yield (type, object) until the server ends the stream; raises ApiError 410 when the version is too old."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS), **parameters}
        try:
            with self._session().get(
                self._server + path, params=query, stream=True, timeout=WATCH_SECONDS + 10
            ) as answer:
                _raise_for(answer)
                for line in answer.iter_lines(chunk_size=1 << 20):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                    yield event["type"], event["object"]
        except requests.RequestException as problem:
            raise ApiUnreachable(str(problem)) from problem

    def _request(self, method: str, path: str, **options: Any) -> Object:
        try:
            answer = self._session().request(method, self._server + path, timeout=TIMEOUT_SECONDS, **options)
        except requests.RequestException as problem:
            raise ApiUnreachable(str(problem)) from problem
        _raise_for(answer)
        found: Object = answer.json()
        return found

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.verify = self._authority
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self._token}"
            self._local.session = session
        found: requests.Session = self._local.session
        return found


def _raise_for(answer: requests.Response) -> None:
    if answer.status_code < 400:
        return
    try:
        message = answer.json().get("message", answer.text)
    except ValueError:
        message = answer.text
    if answer.status_code == 404:
        raise NotFound(404, message)
    raise ApiError(answer.status_code, message)


def create_unless_there(api: KubeApi, path: str, body: Object) -> None:
    """Create an object; one of that name is fine."""
    try:
        api.create(path, body)
    except ApiError as problem:
        if problem.status != 409:
            raise


def follow(
    api: KubeApi, path: str, handle: Callable[[str, Object], None], stop: threading.Event, **selectors: str
) -> None:
    """List and watch until `stop` is set, calling handle("ADDED" | "MODIFIED" | "DELETED", object) in order.

    After each interruption the list is read anew, and what has gone meanwhile is handled as DELETED.
    """
    known: dict[str, Object] = {}
    while not stop.is_set():
        try:
            _list_and_watch(api, path, handle, stop, known, selectors)
        except (ApiError, ApiUnreachable):
            stop.wait(RETRY_SECONDS)


def _list_and_watch(
    api: KubeApi,
    path: str,
    handle: Callable[[str, Object], None],
    stop: threading.Event,
    known: dict[str, Object],
    selectors: dict[str, str],
) -> None:
    listed = api.get(path, **selectors)
    present = {item["metadata"]["uid"] for item in listed["items"]}
    for uid in set(known) - present:
        handle("DELETED", known.pop(uid))
    for item in listed["items"]:
        known[item["metadata"]["uid"]] = item
        handle("ADDED", item)
    for kind, item in api.watch(path, listed["metadata"]["resourceVersion"], **selectors):
        if stop.is_set():
            return
        _remember(known, kind, item)
        handle(kind, item)


def _remember(known: dict[str, Object], kind: str, item: Object) -> None:
    if kind == "DELETED":
        known.pop(item["metadata"]["uid"], None)
    else:
        known[item["metadata"]["uid"]] = item
