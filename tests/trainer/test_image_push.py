"""The push against a registry on loopback that asks who is there, fails, and is interrupted."""

import base64
import json
from pathlib import Path, PurePosixPath

import pytest

from distillery_api.reasons import Reason
from distillery_trainer.registry import layers as layers_module
from distillery_trainer.registry.credentials import Credentials, InvalidCredentials, read_credentials
from distillery_trainer.registry.image import image_of
from distillery_trainer.registry.layers import files_below, layers_of
from distillery_trainer.registry.push import push
from distillery_trainer.registry.registry_client import RegistryClient, Repository
from distillery_trainer.runtime.errors import StageError, TryLater, UserError
from registry_server import RESET, RegistryServer, registry_server

TREE = {"config.json": b"{}", "model-1.safetensors": b"1" * 300_000, "model-2.safetensors": b"2" * 400_000}
ALICE = Credentials("alice", "s3cret")


@pytest.fixture(autouse=True)
def _small_files_count_as_large(monkeypatch):
    monkeypatch.setattr(layers_module, "LARGE_FILE_BYTES", 100_000)
    monkeypatch.setattr(layers_module, "CHUNK_BYTES", 64_000)


def image_in(folder: Path):
    for name, content in TREE.items():
        (folder / name).write_bytes(content)
    return image_of(layers_of(files_below(folder, PurePosixPath("models"))), {})


def pushed(registry: RegistryServer, folder: Path, credentials: Credentials | None = None, **options) -> int:
    secret = "push" if credentials else None
    repository = Repository(registry.host, "team/student", credentials, secret, plain_http=True)
    client = RegistryClient(repository, pauses_seconds=(0.0, 0.0))
    try:
        return push(client, image_in(folder), "lhvywxbo", **options)
    finally:
        client.close()


def test_an_image_is_pushed_and_found_again(tmp_path):
    seen = []
    with registry_server() as registry:
        new = pushed(registry, tmp_path, uploaded=seen.append)
        first = list(registry.requests)
        assert pushed(registry, tmp_path) == 0
        again = registry.requests[len(first) :]
    assert registry.content("lhvywxbo", "models/model-2.safetensors") == TREE["model-2.safetensors"]
    assert [layer["mediaType"] for layer in registry.manifest("lhvywxbo")["layers"]] == [
        "application/vnd.oci.image.layer.v1.tar"
    ] * 3
    assert seen == sorted(seen)
    assert new == seen[-1] > 700_000
    assert [request.partition(" ")[0] for request in first] == ["HEAD", "POST", "PUT"] * 4 + ["PUT"]
    assert [request.partition(" ")[0] for request in again] == ["HEAD"] * 5


@pytest.mark.parametrize("challenge", ["Basic", "Bearer"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_registry_that_asks_who_is_there(tmp_path, challenge, absolute):
    with registry_server(users={"alice": "s3cret"}, challenge=challenge, absolute_locations=absolute) as registry:
        pushed(registry, tmp_path, ALICE)
    assert set(registry.tags) == {"lhvywxbo"}
    assert len(registry.token_requests) == (1 if challenge == "Bearer" else 0)


def test_a_token_that_expires_in_the_middle_is_renewed(tmp_path):
    with registry_server(users={"alice": "s3cret"}, challenge="Bearer", tokens_last=2) as registry:
        pushed(registry, tmp_path, ALICE)
    assert set(registry.tags) == {"lhvywxbo"}
    assert len(registry.token_requests) == 7


@pytest.mark.parametrize("challenge", ["Basic", "Bearer"])
def test_refused_credentials_are_a_sentence(tmp_path, challenge):
    with registry_server(users={"alice": "other"}, challenge=challenge) as registry, pytest.raises(UserError) as found:
        pushed(registry, tmp_path, ALICE)
    assert found.value.reason is Reason.PUBLISH_FAILED
    assert (
        f"serving.modelImage: {registry.host}/team/student: the registry refuses the credentials of the Secret push"
        in (found.value.message)
    )
    assert "s3cret" not in found.value.message


def test_no_credentials_where_some_are_needed(tmp_path):
    with registry_server(users={"alice": "s3cret"}) as registry, pytest.raises(UserError) as found:
        pushed(registry, tmp_path)
    assert "set serving.modelImage.credentials to a Secret of the type kubernetes.io/dockerconfigjson" in str(
        found.value
    )


def test_a_user_who_may_only_pull(tmp_path):
    with registry_server(users={"alice": "s3cret"}, readers=("alice",)) as registry, pytest.raises(UserError) as found:
        pushed(registry, tmp_path, ALICE)
    assert "or their user may not push there" in found.value.message
    assert "(HTTP 403" in found.value.message


def test_a_repository_that_is_not_made_by_a_push(tmp_path):
    with registry_server(missing=True) as registry, pytest.raises(UserError) as found:
        pushed(registry, tmp_path)
    assert "create it there, or correct serving.modelImage.repository" in found.value.message
    assert "repository name not known to registry" in found.value.message


@pytest.mark.parametrize(
    "faults", [[("HEAD", 503)], [("POST", 500)], [("PUT", 429)], [("PUT", RESET)], [("PUT", 502)] * 2]
)
def test_a_failure_that_passes_is_tried_again(tmp_path, faults):
    with registry_server(faults=list(faults)) as registry:
        pushed(registry, tmp_path)
    assert registry.content("lhvywxbo", "models/model-1.safetensors") == TREE["model-1.safetensors"]


def test_an_interrupted_push_goes_on_where_it_was(tmp_path):
    with registry_server(faults=[("PUT", 503)] * 3) as registry:
        registry.faults = []
        pushed(registry, tmp_path)
        complete = dict(registry.blobs)
        digests = [layer["digest"] for layer in registry.manifest("lhvywxbo")["layers"]]
        registry.blobs = {digest: complete[digest] for digest in digests[:2]}
        registry.manifests, registry.tags, before = {}, {}, registry.uploads()
        assert pushed(registry, tmp_path) == sum(map(len, complete.values())) - sum(
            map(len, map(complete.get, digests[:2]))
        )
        assert registry.uploads() - before == 2
    assert registry.blobs == complete


def test_a_registry_that_keeps_failing_is_tried_later(tmp_path):
    with registry_server(faults=[("POST", 503)] * 3) as registry, pytest.raises(TryLater) as found:
        pushed(registry, tmp_path)
    assert "cannot be reached (HTTP 503: UNAVAILABLE try again)" in found.value.message
    assert registry.tags == {}


def test_nobody_there(tmp_path):
    with registry_server() as registry:
        pass
    with pytest.raises(TryLater, match="the registry cannot be reached"):
        pushed(registry, tmp_path)


def test_a_registry_without_tls_has_to_be_requested(tmp_path):
    with registry_server() as registry:
        client = RegistryClient(Repository(registry.host, "team/student"), pauses_seconds=())
        with pytest.raises(StageError, match=r"set serving\.modelImage\.plainHTTP"):
            client.has_blob("sha256:0")


def config(**auths) -> str:
    return json.dumps({"auths": auths})


def basic(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("key", "host", "name"),
    [
        ("registry.example", "registry.example", "team/student"),
        ("https://registry.example", "registry.example", "team/student"),
        ("https://registry.example/v2/", "registry.example", "team/student"),
        ("registry.example:5000", "registry.example:5000", "student"),
        ("registry.example/team", "registry.example", "team/student"),
        ("https://index.docker.io/v1/", "docker.io", "team/student"),
        ("*.example", "registry.example", "team/student"),
        ("https://*.example/v2/", "registry.example", "team/student"),
        ("*.*.example.com:5000", "eu.registry.example.com:5000", "student"),
        ("registry.*.example.com", "registry.eu.example.com", "student"),
        ("registry-*.example.com/team", "registry-eu.example.com", "team/student"),
        ("[::1]:5000", "[::1]:5000", "student"),
    ],
)
def test_the_keys_that_tools_write(tmp_path, key, host, name):
    path = tmp_path / "config.json"
    path.write_text(config(**{key: basic("alice:s3:cret"), "other.example": basic("bob:x")}))
    assert read_credentials(path, host, name) == Credentials("alice", "s3:cret")


@pytest.mark.parametrize(
    "key", ["*.example.com", "*.com:5000", "*", "*.registry.example.com", "*.example.com:80/team", "*.example.org:5000"]
)
def test_a_wildcard_stands_for_one_label_of_a_host_and_for_no_port(tmp_path, key):
    path = tmp_path / "config.json"
    path.write_text(config(**{key: basic("alice:s3cret")}))
    with pytest.raises(InvalidCredentials, match=r"no entry for registry\.example\.com:5000; "):
        read_credentials(path, "registry.example.com:5000", "team/student")


@pytest.mark.parametrize("closest", ["r.example", "*.example/team"])
def test_the_closest_entry_comes_before_one_with_a_wildcard(tmp_path, closest):
    path = tmp_path / "config.json"
    path.write_text(config(**{"*.example": basic("all:1"), closest: basic("near:2")}))
    assert read_credentials(path, "r.example", "team/student") == Credentials("near", "2")


@pytest.mark.parametrize("ending", ["YWxpY2U6czNjcmV0IQ==", "YWxpY2U6czNjcmV0IQ", "YWxpY2U6\nczNjcmV0IQ==\n"])
def test_base64_as_nodes_accept_it(tmp_path, ending):
    path = tmp_path / "config.json"
    path.write_text(config(**{"r.example": {"auth": ending}}))
    assert read_credentials(path, "r.example", "student") == Credentials("alice", "s3cret!")


def test_the_entry_of_a_part_comes_before_that_of_the_registry(tmp_path):
    path = tmp_path / "config.json"
    entries = {"r.example": basic("all:1"), "r.example/team": {"username": "team", "password": "2"}}
    path.write_text(config(**entries))
    assert read_credentials(path, "r.example", "team/student") == Credentials("team", "2")
    assert read_credentials(path, "r.example", "teamwork") == Credentials("all", "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no key .dockerconfigjson"),
        ("{", "its key .dockerconfigjson is not JSON"),
        ("[]", 'its key .dockerconfigjson has no "auths"'),
        ('{"credsStore": "desktop"}', 'its key .dockerconfigjson has no "auths"'),
        (config(), "it has no entry for r.example; those that it has: none"),
        (config(**{"https://other.example/v1/": basic("a:b")}), "those that it has: other.example"),
        (config(**{"r.example": {}}), "its entry for r.example has no username and password"),
        (config(**{"r.example": {"auth": "!"}}), "its entry for r.example has no username and password"),
        (config(**{"r.example": {"identitytoken": "x"}}), "its entry for r.example has no username and password"),
    ],
)
def test_credentials_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidCredentials, match=message.replace(".", r"\.")):
        read_credentials(path, "r.example", "team/student")


def test_credentials_show_no_password():
    assert "s3cret" not in repr(ALICE)
