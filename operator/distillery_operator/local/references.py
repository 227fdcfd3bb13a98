"""Finds what a manifest refers to on this machine: claims and ConfigMaps as folders, Secrets as files of variables.

All missing references are reported together, before any stage starts, with the option that supplies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distillery_api.base import FieldPath
from distillery_api.reasons import Reason
from distillery_api.runtime.source_files import find_files, no_files_problem
from distillery_api.spec import DistillationSpec, SecretKeyReference, SecretReference
from distillery_api.spec.request_options import Header, QueryParameter, RequestOptions
from distillery_operator.local.fingerprints import files_fingerprint, fingerprint
from distillery_operator.local.secret_variables import VariablesError, is_environment, read_variables
from distillery_operator.manifest_input.manifest_file import Manifest, ManifestError

CLAIM_SCHEME = "pvc://"
CONFIGMAP_SCHEME = "configmap://"
FILE_SCHEME = "file://"
REMOTE_SCHEMES = ("hf://", "https://", "s3://", "gs://", "abfs://")
MODEL_FIELD = "student"


@dataclass(frozen=True)
class LocalSubstitutes:
    """Local folders and files to use for objects of a cluster, by name of the object."""

    claims: Mapping[str, Path] = field(default_factory=dict)
    configmaps: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedReferences:
    """Everything outside the manifest that a run needs.

    `mounts` and `base_path` are those of a RunConfig; `secrets` are the variables of each Secret, by its name;
    `fingerprints` are the digests of local sources, by URI.
    """

    mounts: Mapping[str, str]
    base_path: str
    secrets: Mapping[str, Mapping[str, str]]
    fingerprints: Mapping[str, str]


class InputsError(ManifestError):
    """Something that the manifest refers to is not on this machine. `reason` is that of the first problem."""

    def __init__(self, reason: Reason, *problems: str) -> None:
        super().__init__(*problems)
        self.reason = reason


def find_inputs(manifest: Manifest, mappings: LocalSubstitutes, *, keys: bool = True) -> ResolvedReferences:
    """The manifest's references on this machine; API keys only if `keys`.

    Raises InputsError with a problem for each missing reference.
    """
    search = _Search(manifest, mappings)
    if manifest.distillation.spec.suspend:
        search.add_problem(("spec", "suspend"), "is true, so nothing runs; set it to false", Reason.SUSPENDED)
    rows = {uri: search.rows(field_path, uri) for field_path, uri in _row_locations(manifest)}
    schema_uri = manifest.distillation.spec.generation.schema_uri
    schema = search.schema(("spec", "generation", "schemaUri"), schema_uri) if schema_uri else None
    model_uri = manifest.distillation.spec.student.model.uri
    model = search.model(("spec", MODEL_FIELD, "model", "uri"), model_uri)
    secrets = search.secrets(keys=keys)
    if search.problems:
        _, reasons, messages = zip(*sorted(search.problems), strict=True)
        raise InputsError(reasons[0], *messages)
    return ResolvedReferences(
        mounts=search.mounts,
        base_path=str(_base(manifest)),
        secrets=secrets,
        fingerprints={
            **{uri: files_fingerprint(found) for uri, found in rows.items() if found},
            **({schema_uri: fingerprint(schema)} if schema_uri and schema else {}),
            **({model_uri: fingerprint(model)} if model else {}),
        },
    )


def _base(manifest: Manifest) -> Path:
    return manifest.path.resolve().parent


def _row_locations(manifest: Manifest) -> Iterator[tuple[FieldPath, str]]:
    """The URIs of rows, each with its field."""
    for split, source in manifest.distillation.spec.data.sources.items():
        if source.uris is None:
            yield ("spec", "data", split, "uri"), source.uri or ""
        for number, uri in enumerate(source.uris or ()):
            yield ("spec", "data", split, "uris", number), uri


class _Search:
    """Looks up references and collects problems."""

    def __init__(self, manifest: Manifest, mappings: LocalSubstitutes) -> None:
        self.manifest = manifest
        self.mappings = mappings
        self.mounts: dict[str, str] = {}
        self.problems: list[tuple[int, Reason, str]] = []

    def add_problem(self, field_path: FieldPath, message: str, reason: Reason = Reason.CONFIGURATION_MISSING) -> None:
        """Add a problem of a field."""
        self.problems.append(
            (self.manifest.document.line_of(field_path), reason, self.manifest.problem(field_path, message))
        )

    def rows(self, field_path: FieldPath, uri: str) -> dict[str, Path]:
        """The files of rows that `uri` means, by their names; none where they are not on this machine."""
        path = None if uri.startswith(REMOTE_SCHEMES) else self.path(field_path, uri)
        if path is None:
            return {}
        root, name = self.root_and_name(uri)
        names = find_files(root, name, of_any_name=uri.startswith(CONFIGMAP_SCHEME))
        if names == [name] and not path.exists():
            self.add_problem(
                field_path,
                f"{path} does not exist; check the path{_relative_hint(uri, self.manifest)}",
                Reason.INVALID_DATA,
            )
            return {}
        if not names:
            self.add_problem(field_path, f"{path}: {no_files_problem(name)}", Reason.INVALID_DATA)
        return {each: Path(root + each) for each in names}

    def schema(self, field_path: FieldPath, uri: str) -> Path | None:
        """The file with a JSON schema that `uri` names; None where it is not on this machine."""
        path = self.path(field_path, uri)
        if path is None or path.is_file():
            return path
        problem = (
            "is a folder; give the file with the schema in it" if path.is_dir() else "does not exist; check the path"
        )
        self.add_problem(field_path, f"{path} {problem}{_relative_hint(uri, self.manifest)}", Reason.INVALID_DATA)
        return None

    def model(self, field_path: FieldPath, uri: str) -> Path | None:
        """The folder of the model that `uri` names; None where it is not on this machine."""
        path = None if uri.startswith(REMOTE_SCHEMES) else self.path(field_path, uri)
        if path is not None and not path.exists():
            self.add_problem(
                field_path,
                f"{path} does not exist; check the path{_relative_hint(uri, self.manifest)}",
                Reason.INVALID_MODEL,
            )
            return None
        if path is not None and not path.is_dir():
            self.add_problem(field_path, f"{path} is a file; give the folder that contains config.json and the weights")
            return None
        return path

    def root_and_name(self, uri: str) -> tuple[str, str]:
        """The folder that `uri` is relative to, with a slash at the end, and the rest of it."""
        for scheme in (CLAIM_SCHEME, CONFIGMAP_SCHEME):
            if uri.startswith(scheme):
                reference, _, rest = uri.removeprefix(scheme).partition("/")
                return f"{self.mounts[scheme + reference]}/", rest
        name = uri.removeprefix(FILE_SCHEME)
        return ("", name) if name.startswith("/") else (f"{_base(self.manifest)}/", name)

    def path(self, field_path: FieldPath, uri: str) -> Path | None:
        """The path that `uri` points to, whether it exists or not."""
        if uri.startswith(CLAIM_SCHEME):
            return self.mounted(field_path, uri, CLAIM_SCHEME, "claim", self.mappings.claims)
        if uri.startswith(CONFIGMAP_SCHEME):
            return self.mounted(field_path, uri, CONFIGMAP_SCHEME, "configmap", self.mappings.configmaps)
        return _base(self.manifest) / uri.removeprefix(FILE_SCHEME)

    def mounted(
        self, field_path: FieldPath, uri: str, scheme: str, flag: str, folders: Mapping[str, Path]
    ) -> Path | None:
        """A path inside a claim or ConfigMap."""
        name, _, rest = uri.removeprefix(scheme).partition("/")
        folder = folders.get(name)
        if folder is None:
            kind = "PersistentVolumeClaim" if flag == "claim" else "ConfigMap"
            self.add_problem(
                field_path,
                f"{uri} is in the {kind} {name}, which only a cluster has; use a local folder instead:"
                f" --{flag} {name}=DIR",
            )
            return None
        if not folder.is_dir():
            self.add_problem(field_path, f"--{flag} {name}={folder}: the folder does not exist; check the path")
            return None
        path = folder.resolve() / rest
        if not path.resolve().is_relative_to(folder.resolve()):
            self.add_problem(
                field_path,
                f"{uri} leads out of {folder}, to {path.resolve()}; copy the file into the folder, or name another one:"
                f" --{flag} {name}=DIR",
            )
            return None
        self.mounts[f"{scheme}{name}"] = str(folder.resolve())
        return path

    def secrets(self, *, keys: bool) -> dict[str, dict[str, str]]:
        """The variables of every Secret that the manifest refers to, by its name."""
        found: dict[str, dict[str, str]] = {}
        spec = self.manifest.distillation.spec
        references = [*_api_keys(spec), *_signing_key(spec)] if keys else []
        for field_path, key in references:
            name = key.secret_name
            if name not in found:
                named = {each.key for _, each in references if each.secret_name == name}
                found[name] = self.secret(field_path, name, key.key if len(named) == 1 else None)
            if found[name] and key.key not in found[name]:
                self.add_problem(field_path, _missing_key(name, key.key, self.mappings.secrets[name], found[name]))
        for field_path, credentials in _credentials(spec, runs=keys):
            if credentials.secret_name not in found:
                found[credentials.secret_name] = self.secret(field_path, credentials.secret_name)
        return found

    def secret(self, field_path: FieldPath, name: str, key: str | None = None) -> dict[str, str]:
        """The variables of one Secret, of which the manifest names this one key; empty if there is a problem."""
        source = self.mappings.secrets.get(name)
        if source is None:
            self.add_problem(
                field_path,
                f"the Secret {name} is only in a cluster; use a local file of KEY=VALUE lines instead:"
                f" --secret {name}=ENVFILE, or a variable of the environment: --secret {name}=env:VARIABLE",
            )
            return {}
        try:
            return read_variables(source, key)
        except VariablesError as error:
            self.add_problem(field_path, f"--secret {name}={source}: {error}")
            return {}


def _relative_hint(uri: str, manifest: Manifest) -> str:
    plain = "://" not in uri and not uri.startswith("/")
    return f" (a plain path is relative to the manifest's folder, {_base(manifest)})" if plain else ""


def _missing_key(name: str, key: str, source: Path, variables: Mapping[str, str]) -> str:
    listed = ", ".join(variables)
    if is_environment(source):
        return f"the key {key} of the Secret {name} is not among {listed}; write --secret {name}=env:{key}=VARIABLE"
    return f"the key {key} of the Secret {name} is not in {source}, which has {listed}; add a line {key}=…"


def _api_keys(spec: DistillationSpec) -> Iterator[tuple[FieldPath, SecretKeyReference]]:
    """Every reference to an API key, with its field."""
    for index, teacher in enumerate(spec.generation.teachers):
        field_path: FieldPath = ("spec", "generation", "teachers", index)
        if teacher.api_key is not None:
            yield (*field_path, "apiKey"), teacher.api_key
        for number, server in enumerate(teacher.servers or ()):
            if server.api_key is not None:
                yield (*field_path, "servers", number, "apiKey"), server.api_key
        yield from _request_secrets(teacher, field_path)
    for part, judge in (("generation", spec.generation.judge), ("evaluation", spec.evaluation.judge)):
        if judge is not None and judge.api_key is not None:
            yield ("spec", part, "judge", "apiKey"), judge.api_key
        if judge is not None:
            yield from _request_secrets(judge, ("spec", part, "judge"))


def _signing_key(spec: DistillationSpec) -> Iterator[tuple[FieldPath, SecretKeyReference]]:
    """The reference to the key that signs the student, if there is one, with its field."""
    if spec.publication.signing_key is not None:
        yield ("spec", "publication", "signingKey"), spec.publication.signing_key


def _credentials(spec: DistillationSpec, *, runs: bool) -> Iterator[tuple[FieldPath, SecretReference]]:
    """Every reference to credentials, with its field; only a run reports to trackers, and publishes."""
    hub = spec.publication.hub
    given: dict[tuple[str, ...], SecretReference | None] = {
        ("data",): spec.data.credentials,
        ("student",): spec.student.credentials,
        ("tracking",): spec.tracking.credentials if spec.tracking and runs else None,
        ("publication", "hub"): hub.credentials if hub and runs else None,
    }
    for part, credentials in given.items():
        if credentials is not None:
            yield ("spec", *part, "credentials"), credentials


def _request_secrets(model: RequestOptions, field_path: FieldPath) -> Iterator[tuple[FieldPath, SecretKeyReference]]:
    """The Secrets with headers and parameters of requests, each with its field."""
    given: dict[str, tuple[Header | QueryParameter, ...]] = {
        "headers": model.headers or (),
        "query": model.query or (),
    }
    for name, values in given.items():
        for number, each in enumerate(values):
            if each.secret is not None:
                yield (*field_path, name, number, "secret"), each.secret
