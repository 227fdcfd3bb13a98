"""Pushes blobs and manifests to one repository of a registry.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import httpx2

from distillery_trainer.registry.authorization import NoToken, RegistryAuthorization
from distillery_trainer.registry.bounded_responses import bounded_client
from distillery_trainer.registry.credentials import Credentials
from distillery_trainer.registry.failures import is_transient, is_unknown_user, no_registry, refusal, unreachable
from distillery_trainer.registry.image import MANIFEST_TYPE
from distillery_trainer.runtime.errors import StageError

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Back-off before each retry of a request that failed for a cause that may pass."""
_TIMEOUT = httpx2.Timeout(60.0, read=600.0)
"""Seconds. A registry may take minutes to store a large layer."""
_DOCKER_HUB, _DOCKER_HUB_API = "docker.io", "registry-1.docker.io"
_MISSING, _NOT_ALLOWED = 404, 405
_DIGEST = "docker-content-digest"

Sent = Callable[[int], None]
"""Is told the number of bytes after each chunk that was sent."""


class Blob(Protocol):
    """Bytes with a known digest, which can be read again."""

    @property
    def digest(self) -> str:
        """Such as sha256:9f86…"""

    @property
    def size(self) -> int:
        """Length, in bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in chunks."""


@dataclass(frozen=True)
class Repository:
    """A repository of a registry, and what is needed to push to it."""

    host: str
    name: str
    credentials: Credentials | None = None
    secret: str | None = None
    """Name of the Secret that the credentials come from."""
    plain_http: bool = False

    @property
    def url(self) -> str:
        """Base URL of its part of the registry's API."""
        return f"{'http' if self.plain_http else 'https'}://{self.api_host}/v2/{self.name}"

    @property
    def api_host(self) -> str:
        """Host, and port if there is one, of the registry's API."""
        return _DOCKER_HUB_API if self.host == _DOCKER_HUB else self.host

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


class RegistryClient:
    """Pushes to one repository. All methods raise UserError where the registry refuses, and TryLater where it cannot be
    reached."""

    def __init__(self, repository: Repository, pauses_seconds: Iterable[float] = PAUSES_SECONDS) -> None:
        self._repository, self._pauses = repository, tuple(pauses_seconds)
        scope = f"repository:{repository.name}:pull,push"
        auth = RegistryAuthorization(repository.credentials, repository.url, scope)
        self._http = bounded_client(auth, _TIMEOUT)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def has_blob(self, digest: str) -> bool:
        """Whether the repository holds a blob. A registry may redirect to where it does."""
        response = self._head(f"/blobs/{digest}")
        return response is not None and (response.is_redirect or _is_of(response, digest))

    def has_manifest(self, digest: str) -> bool:
        """Whether the repository holds the manifest with this digest. What redirects these, too, is no registry."""
        response = self._head(f"/manifests/{digest}", {"accept": MANIFEST_TYPE})
        if response is not None and response.is_redirect:
            raise self._refusal(response)
        typed = response is not None and response.headers.get("content-type", "").startswith(MANIFEST_TYPE)
        return response is not None and (typed or _DIGEST in response.headers) and _is_of(response, digest)

    def push_blob(self, blob: Blob, sent: Sent = lambda _: None) -> None:
        """Upload a blob in one request, chunk by chunk; after a failure from its start."""

        def upload() -> httpx2.Response:
            begun = self._http.post(f"{self._repository.url}/blobs/uploads/", content=b"")
            if not begun.is_success:
                return begun
            target = self._upload_url(begun).copy_merge_params({"digest": blob.digest})
            headers = {"content-type": "application/octet-stream", "content-length": str(blob.size)}
            return self._http.put(target, content=_Counted(blob, sent), headers=headers)

        self._accepted(upload)

    def push_manifest(self, tag: str, manifest: Blob) -> None:
        """Store a manifest under a tag."""
        content = b"".join(manifest)
        url = f"{self._repository.url}/manifests/{tag}"
        stored = self._accepted(lambda: self._http.put(url, content=content, headers={"content-type": MANIFEST_TYPE}))
        if not _is_of(stored, manifest.digest):
            what = f"it stored the image as {stored.headers[_DIGEST]} instead of {manifest.digest}"
            raise no_registry(str(self._repository), what)

    def _upload_url(self, begun: httpx2.Response) -> httpx2.URL:
        """Where the registry wants a blob. A proxy that ends TLS may have it write http:// for itself."""
        location = begun.headers.get("location")
        if not location:
            raise no_registry(str(self._repository), f"it does not say where to upload to (HTTP {begun.status_code})")
        own = begun.request.url
        url = own.join(location)
        return url.copy_with(scheme=own.scheme) if url.netloc == own.netloc else url

    def _head(self, path: str, headers: dict[str, str] | None = None) -> httpx2.Response | None:
        """The response about something that the repository holds; None where it does not, or does not say."""
        response = self._patiently(lambda: self._http.head(self._repository.url + path, headers=headers))
        if response.is_success or response.is_redirect:
            return response
        if response.status_code in (_MISSING, _NOT_ALLOWED):
            return None
        raise self._refusal(response)

    def _accepted(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        response = self._patiently(send)
        if not response.is_success:
            raise self._refusal(response)
        return response

    def _refusal(self, response: httpx2.Response) -> StageError:
        return refusal(str(self._repository), self._repository.secret, response)

    def _patiently(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        """The first response that says something about the request. Raises StageError."""
        for pause in (*self._pauses, None):
            problem = self._attempt(send)
            if isinstance(problem, httpx2.Response) and not is_transient(problem):
                return problem
            if pause is not None:
                time.sleep(pause)
        raise unreachable(str(self._repository), problem)

    def _attempt(self, send: Callable[[], httpx2.Response]) -> httpx2.Response | Exception:
        try:
            return send()
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            return error
        except NoToken as error:
            if error.response is not None and (is_transient(error.response) or is_unknown_user(error.response)):
                return error.response
            raise no_registry(str(self._repository), str(error)) from error


def _is_of(response: httpx2.Response, digest: str) -> bool:
    """Whether a response is about that digest, as far as it says."""
    return bool(response.headers.get(_DIGEST, digest) == digest)


class _Counted:
    """A blob that says how far it was read. It can be read again, since a registry may ask who is there first."""

    def __init__(self, blob: Blob, sent: Sent) -> None:
        self._blob, self._sent = blob, sent

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._blob:
            yield chunk
            self._sent(len(chunk))
