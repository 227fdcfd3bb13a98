"""What a manifest refers to, found on this machine: claims and ConfigMaps as folders, Secrets as files of variables.

Everything that is missing is said at once and before any stage starts, with the flag that supplies it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distillery_api.reasons import Reason
from distillery_api.spec import DistillationSpec, SecretKeyReference
from distillery_operator.local.fingerprints import fingerprint
from distillery_operator.manifest_input import yaml_document
from distillery_operator.manifest_input.manifest_file import Manifest, ManifestError

CLAIM_SCHEME = "pvc://"
CONFIGMAP_SCHEME = "configmap://"
FILE_SCHEME = "file://"
REMOTE_SCHEMES = ("hf://", "https://", "s3://", "gs://", "abfs://")
MODEL_FIELD = "student"


@dataclass(frozen=True)
class Mappings:
    """What the user says stands for the cluster's objects, by their names."""

    claims: Mapping[str, Path] = field(default_factory=dict)
    configmaps: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """Everything outside the manifest that a run needs.

    `mounts` and `base_path` are those of a RunConfig; `secrets` holds the variables of each Secret by its name;
    `fingerprints` the digest of each local source by its URI.
    """

    mounts: Mapping[str, str]
    base_path: str
    secrets: Mapping[str, Mapping[str, str]]
    fingerprints: Mapping[str, str]


class InputsError(ManifestError):
    """Something that the manifest refers to is not on this machine; `reason` is that of the first sentence."""

    def __init__(self, reason: Reason, *problems: str) -> None:
        super().__init__(*problems)
        self.reason = reason


def find_inputs(manifest: Manifest, mappings: Mappings, *, keys: bool = True) -> Inputs:
    """The manifest's references on this machine; API keys only where somebody will be asked.

    Raises InputsError with one sentence for each that is missing.
    """
    search = _Search(manifest, mappings)
    if manifest.distillation.spec.suspend:
        search.complain(("spec", "suspend"), "is true, so nothing runs; set it to false", Reason.SUSPENDED)
    sources = {uri: search.source(place, uri) for place, uri in _sources(manifest)}
    secrets = search.secrets(keys=keys)
    if search.problems:
        _, reasons, sentences = zip(*sorted(search.problems), strict=True)
        raise InputsError(reasons[0], *sentences)
    return Inputs(
        mounts=search.mounts,
        base_path=str(_base(manifest)),
        secrets=secrets,
        fingerprints={uri: fingerprint(path) for uri, path in sources.items() if path is not None},
    )


def _base(manifest: Manifest) -> Path:
    return manifest.path.resolve().parent


def _sources(manifest: Manifest) -> Iterator[tuple[yaml_document.Path, str]]:
    """Where rows and the student come from, with the fields that say so."""
    spec = manifest.distillation.spec
    for split, source in spec.data.sources.items():
        yield ("spec", "data", split, "uri"), source.uri
    yield ("spec", "student", "model", "uri"), spec.student.model.uri


class _Search:
    """Looks references up and collects what is missing."""

    def __init__(self, manifest: Manifest, mappings: Mappings) -> None:
        self.manifest = manifest
        self.mappings = mappings
        self.mounts: dict[str, str] = {}
        self.problems: list[tuple[int, Reason, str]] = []

    def complain(self, place: yaml_document.Path, message: str, reason: Reason = Reason.CONFIGURATION_MISSING) -> None:
        """Notes a problem of one field."""
        self.problems.append((self.manifest.document.line_of(place), reason, self.manifest.problem(place, message)))

    def source(self, place: yaml_document.Path, uri: str) -> Path | None:
        """The file or folder that `uri` names; None where it is not on this machine."""
        if uri.startswith(REMOTE_SCHEMES):
            return None
        path = self.path(place, uri)
        if path is not None and not path.exists():
            reason = Reason.INVALID_MODEL if MODEL_FIELD in place else Reason.INVALID_DATA
            self.complain(place, f"there is no {path}; check the path{_relative_hint(uri, self.manifest)}", reason)
            return None
        if path is not None and path.is_dir() != (MODEL_FIELD in place):
            self.complain(place, _wrong_kind(path))
            return None
        return path

    def path(self, place: yaml_document.Path, uri: str) -> Path | None:
        """Where `uri` points, whether something is there or not."""
        if uri.startswith(CLAIM_SCHEME):
            return self.mounted(place, uri, CLAIM_SCHEME, "claim", self.mappings.claims)
        if uri.startswith(CONFIGMAP_SCHEME):
            return self.mounted(place, uri, CONFIGMAP_SCHEME, "configmap", self.mappings.configmaps)
        return _base(self.manifest) / uri.removeprefix(FILE_SCHEME)

    def mounted(
        self, place: yaml_document.Path, uri: str, scheme: str, flag: str, folders: Mapping[str, Path]
    ) -> Path | None:
        """A path inside a claim or ConfigMap."""
        name, _, rest = uri.removeprefix(scheme).partition("/")
        folder = folders.get(name)
        if folder is None:
            kind = "claim" if flag == "claim" else "ConfigMap"
            self.complain(
                place,
                f"{uri} lies in the {kind} {name} of a cluster; say which folder stands for it here:"
                f" --{flag} {name}=DIR",
            )
            return None
        if not folder.is_dir():
            self.complain(place, f"--{flag} {name}={folder}: there is no such folder; check the path")
            return None
        self.mounts[f"{scheme}{name}"] = str(folder.resolve())
        return folder.resolve() / rest

    def secrets(self, *, keys: bool) -> dict[str, dict[str, str]]:
        """The variables of every Secret that the manifest names, by its name."""
        found: dict[str, dict[str, str]] = {}
        spec = self.manifest.distillation.spec
        for place, key in _api_keys(spec) if keys else ():
            name = key.secret_name
            if name not in found:
                found[name] = self.secret(place, name)
            if found[name] and key.key not in found[name]:
                self.complain(place, _missing_key(name, key.key, self.mappings.secrets[name], found[name]))
        for part, credentials in (("data", spec.data.credentials), ("student", spec.student.credentials)):
            if credentials is not None and credentials.secret_name not in found:
                found[credentials.secret_name] = self.secret(("spec", part, "credentials"), credentials.secret_name)
        return found

    def secret(self, place: yaml_document.Path, name: str) -> dict[str, str]:
        """The variables of one Secret; empty after a complaint."""
        file = self.mappings.secrets.get(name)
        if file is None:
            self.complain(
                place,
                f"the Secret {name} lies in a cluster; say which file of KEY=VALUE lines stands for it here:"
                f" --secret {name}=ENVFILE",
            )
            return {}
        try:
            return read_variables(file)
        except VariablesError as error:
            self.complain(place, f"--secret {name}={file}: {error}")
            return {}


def _wrong_kind(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder; name the JSON Lines file in it"
    return f"{path} is a file; name the folder that holds config.json and the weights"


def _relative_hint(uri: str, manifest: Manifest) -> str:
    plain = "://" not in uri and not uri.startswith("/")
    return f" (a plain path is taken from the manifest's folder, {_base(manifest)})" if plain else ""


def _missing_key(name: str, key: str, file: Path, variables: Mapping[str, str]) -> str:
    return f"the key {key} of the Secret {name} is not in {file}, which has {', '.join(variables)}; add a line {key}=…"


class VariablesError(Exception):
    """A file of variables cannot be used; the message never shows a value."""


def read_variables(path: Path) -> dict[str, str]:
    """KEY=VALUE lines as `kubectl create secret --from-env-file` takes them: values are literal, # starts a comment.

    Raises VariablesError.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VariablesError(f"cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            key, equals, value = line.partition("=")
            if not equals or not key.strip():
                raise VariablesError(f"line {number} is not KEY=VALUE")
            variables[key.strip()] = value
    if not variables:
        raise VariablesError("is empty; write KEY=VALUE lines")
    return variables


def _api_keys(spec: DistillationSpec) -> Iterator[tuple[yaml_document.Path, SecretKeyReference]]:
    """Every API key that the manifest names, and where."""
    for index, teacher in enumerate(spec.generation.teachers):
        place: yaml_document.Path = ("spec", "generation", "teachers", index)
        if teacher.api_key is not None:
            yield (*place, "apiKey"), teacher.api_key
        for number, server in enumerate(teacher.servers or ()):
            if server.api_key is not None:
                yield (*place, "servers", number, "apiKey"), server.api_key
    for part, judge in (("generation", spec.generation.judge), ("evaluation", spec.evaluation.judge)):
        if judge is not None and judge.api_key is not None:
            yield ("spec", part, "judge", "apiKey"), judge.api_key
