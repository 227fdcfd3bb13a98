"""From a location in the manifest to its files: on this machine, by their paths, or on a server, by their URLs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.source_files import FILE_LIMIT, find_files, no_files_problem
from distillery_trainer.data.addresses import without_secrets
from distillery_trainer.data.remote_files import is_remote
from distillery_trainer.data.remote_listing import list_files
from distillery_trainer.runtime.errors import UserError

_CONFIGMAP = "configmap://"


@dataclass(frozen=True)
class SourceFile:
    """One file of rows."""

    uri: str
    """As the manifest would name it, without passwords and signatures."""
    path: str
    """Where that is: a path on this machine, or a URL."""
    root: Root | None = None
    """What the manifest names with it; None on a server."""


@dataclass(frozen=True)
class Root:
    """What the first part of a URI stands for, such as a claim; of a relative path, the folder of the manifest."""

    uri: str
    """That part, such as pvc://CLAIM/; empty for a path."""
    path: str
    """The folder, with a slash at the end; empty for absolute paths."""
    bound: str | None = None
    """The claim or ConfigMap that no path may lead out of."""

    @classmethod
    def of(cls, uri: str, config: RunConfig, field_name: str) -> Root:
        """Raises UserError for a claim or ConfigMap that is not mounted."""
        scheme, separator, rest = uri.partition("://")
        if not separator:
            return cls("", "" if uri.startswith("/") else f"{config.base_path.rstrip('/')}/")
        if scheme == "file":
            return cls("file://", "")
        reference = f"{scheme}://{rest.partition('/')[0]}"
        if reference not in config.mounts:
            mounted = ", ".join(sorted(config.mounts)) or "nothing"
            raise UserError(
                f"{field_name}: {uri}: {reference} is not mounted (mounted: {mounted}).", reason=Reason.INVALID_DATA
            )
        return cls(f"{reference}/", f"{config.mounts[reference].rstrip('/')}/", reference)

    def name_of(self, uri: str) -> str:
        """The rest of a URI."""
        return uri[len(self.uri) :]

    def checked(self, name: str, field_name: str) -> str:
        """The path of a name. Raises UserError if it leads out of the claim or ConfigMap."""
        path = self.path + name
        if self.bound and not Path(path).resolve().is_relative_to(Path(self.path).resolve()):
            raise UserError(
                f"{field_name}: {self.uri}{name}: the path leads out of {self.bound}.", reason=Reason.INVALID_DATA
            )
        return path


def files_at(uri: str, config: RunConfig, field_name: str) -> list[SourceFile]:
    """The files that a URI of the manifest means, in order: a file, all of a folder, or what a pattern matches.

    Raises UserError if there are none or too many, or if one is outside of its claim or ConfigMap; TryLater if a server
    cannot be reached.
    """
    shown = without_secrets(uri, query="…")
    if is_remote(uri):
        found = [
            SourceFile(without_secrets(each, query="…"), each) for each in list_files(uri, f"{field_name}: {shown}")
        ]
        name = uri
    else:
        root = Root.of(uri, config, field_name)
        name = root.name_of(uri)
        names = find_files(root.path, name, of_any_name=uri.startswith(_CONFIGMAP))
        found = [SourceFile(root.uri + each, root.checked(each, field_name), root) for each in names]
    problem = _problem(name, len(found))
    if problem:
        raise UserError(f"{field_name}: {shown}: {problem}.", reason=Reason.INVALID_DATA)
    return found


def _problem(name: str, count: int) -> str | None:
    if not count:
        return no_files_problem(name)
    return f"{count:,} files are too many; join them into at most {FILE_LIMIT:,}" if count > FILE_LIMIT else None


def resolve(uri: str, config: RunConfig, field_name: str = "uri") -> str:
    """The location of a URI of the manifest: a path on this machine, or a URL.

    `pvc://CLAIM/PATH` and `configmap://NAME/KEY` are below their mount, `file:///PATH` is PATH, a plain path is
    relative to the config's base path, and a URL stays unchanged. Raises UserError for a claim or ConfigMap that is
    not mounted, and for a path that leads out of it, by a link or by `..`.
    """
    if is_remote(uri):
        return uri
    root = Root.of(uri, config, field_name)
    return root.checked(root.name_of(uri), field_name)
