"""Names and passwords of registries, in the file that `docker login` writes and a Secret of the type
kubernetes.io/dockerconfigjson holds."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_SCHEME = re.compile(r"^[a-z]+://")
_VERSION = re.compile(r"/v[12]/?$")


class InvalidCredentials(Exception):
    """The file cannot be used. The message says why, and quotes nothing secret."""


@dataclass(frozen=True)
class Credentials:
    """A user of a registry."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of the header Authorization."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def read_credentials(path: Path, host: str, name: str) -> Credentials:
    """The credentials for the repository `name` of the registry `host`. An entry of a part of the name comes before one
    of the whole registry, and one of this host before one with wildcards. Raises InvalidCredentials."""
    entries = _entries(path)
    found = [key for key in entries if _is_for(_scope(key), f"{_canonical(host)}/{name}")]
    if not found:
        known = ", ".join(sorted(map(_scope, entries))) or "none"
        raise InvalidCredentials(f"it has no entry for {host}; those that it has: {known}")
    key = max(found, key=_precision)
    return _credentials(_scope(key), entries[key])


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidCredentials("it has no key .dockerconfigjson") from error
    except ValueError:
        raise InvalidCredentials("its key .dockerconfigjson is not JSON") from None
    entries = content.get("auths") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise InvalidCredentials('its key .dockerconfigjson has no "auths"')
    return entries


def _credentials(scope: str, entry: Any) -> Credentials:
    username, password = _pair(entry if isinstance(entry, dict) else {})
    if not username or not password:
        raise InvalidCredentials(f"its entry for {scope} has no username and password")
    return Credentials(username, password)


def _pair(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Username and password: either on their own, or joined in `auth`."""
    username, password = entry.get("username"), entry.get("password")
    if isinstance(username, str) and isinstance(password, str) and username and password:
        return username, password
    try:
        joined = _decoded(str(entry.get("auth") or ""))
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    username, _, password = joined.partition(":")
    return username, password.rstrip("\r\n\0")


def _decoded(text: str) -> str:
    """Base64 as nodes accept it: in one line or several, with or without padding at its end."""
    line = "".join(text.split()).rstrip("=")
    return base64.b64decode(line + "=" * (-len(line) % 4), validate=True).decode()


def _is_for(scope: str, repository: str) -> bool:
    """Whether an entry is for a repository, as nodes decide it: `*` in a host stands for any part of one label."""
    (pattern, _, part), (host, _, name) = scope.partition("/"), repository.partition("/")
    return _matches(pattern, host) and (not part or name == part or name.startswith(f"{part}/"))


def _matches(pattern: str, host: str) -> bool:
    """Whether a host with its port is one of those that a pattern stands for."""
    (labels, _, port), (of_host, _, port_of_host) = pattern.partition(":"), host.partition(":")
    parts, parts_of_host = labels.split("."), of_host.split(".")
    same = port == port_of_host and len(parts) == len(parts_of_host)
    return same and all(map(fnmatchcase, parts_of_host, parts))


def _precision(key: str) -> tuple[int, bool, int]:
    """How closely an entry describes what it is for."""
    host, _, part = _scope(key).partition("/")
    return len(part), not any(sign in host for sign in "*?["), len(host)


def _scope(key: str) -> str:
    """What an entry is for, without scheme and version: `https://index.docker.io/v1/` is Docker Hub."""
    plain = _VERSION.sub("", _SCHEME.sub("", key).rstrip("/")).rstrip("/")
    host, _, path = plain.partition("/")
    return "/".join(part for part in (_canonical(host), path) if part)


def _canonical(host: str) -> str:
    return "docker.io" if host in _DOCKER_HUB else host
