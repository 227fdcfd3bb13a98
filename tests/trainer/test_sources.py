"""Sources of rows: files, web servers, object stores, and the errors if they are missing."""

import datetime
import gzip
import os

import fsspec
import orjson
import pyarrow
import pytest

from certificates import write_certificates
from data_source import source, write
from distillery_api.run_config import RunConfig
from distillery_trainer.data.locations import resolve
from distillery_trainer.data.row_reader import check_rows, read_valid_rows
from distillery_trainer.data.sources import sources
from distillery_trainer.runtime.errors import TryLater, UserError
from file_server import file_server
from generate_run import GenerateRun, gold_of, jsonl, nli_rows
from teacher_server import gold_teacher

ROWS = jsonl(nli_rows(3))
MANY = jsonl(nli_rows(40_000))


@pytest.fixture
def server():
    with file_server() as running:
        running.files = {"/rows.jsonl": ROWS}
        yield running


def read(where) -> bytes:
    with where.opened() as stream:
        return stream.read()


def no_variables(monkeypatch, *prefixes: str) -> None:
    for name in list(os.environ):
        if name.startswith(prefixes):
            monkeypatch.delenv(name)


# --- the web


def test_file_on_a_web_server_is_downloaded_once_and_read_often(server, tmp_path):
    where = source(f"{server.url}/rows.jsonl", scratch=tmp_path)
    assert [row.line for row in read_valid_rows(where)] == [1, 2, 3]
    server.files = {}
    assert read(where) == ROWS
    assert server.requests.count("GET /rows.jsonl") == 1


def test_two_readers_of_one_download_do_not_disturb_each_other(server, tmp_path):
    where = source(f"{server.url}/rows.jsonl", scratch=tmp_path)
    with where.opened() as one, where.opened() as other:
        assert one.readline() == other.readline()
        assert one.read() == other.read() != b""


@pytest.mark.parametrize("chunked", [False, True], ids=["no ranges", "no ranges and no length"])
def test_server_without_range_requests_is_enough(server, tmp_path, chunked):
    server.files, server.ranges, server.chunked = {"/rows.jsonl": MANY}, False, chunked
    assert read(source(f"{server.url}/rows.jsonl", scratch=tmp_path)) == MANY


def test_download_leaves_no_file_behind(server, tmp_path):
    where = source(f"{server.url}/rows.jsonl", scratch=tmp_path)
    read(where)
    assert list(tmp_path.iterdir()) == []


def test_truncated_download_is_retried(server, tmp_path, capsys):
    server.files, server.cut_off = {"/rows.jsonl": MANY}, 1
    assert read(source(f"{server.url}/rows.jsonl", scratch=tmp_path)) == MANY
    assert "Retrying in 0.5 s." in capsys.readouterr().err


def test_failing_server_is_tried_a_bounded_number_of_times(server, tmp_path):
    server.status = 503
    with pytest.raises(TryLater) as error:
        read(source(f"{server.url}/rows.jsonl", scratch=tmp_path))
    assert "the file cannot be read from the server (503, message='Service Unavailable'" in error.value.message
    assert error.value.message.endswith("The next attempt will try again.")
    assert len([request for request in server.requests if request.startswith("GET")]) in (3, 6)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, "the file does not exist."),
        (403, "access is denied (HTTP 403). Name a Secret with FSSPEC_HTTPS"),
        (401, "access is denied (HTTP 401)."),
        (400, "the server refuses the request: 400"),
    ],
)
def test_refusal_of_a_web_server_is_an_error_with_split_and_uri(server, tmp_path, status, sentence):
    server.status = status
    with pytest.raises(UserError) as error:
        read(source(f"{server.url}/rows.jsonl", "validation", tmp_path))
    assert error.value.message.startswith(f"data.validation: {server.url}/rows.jsonl: ")
    assert sentence in error.value.message


def test_redirect_within_the_server_is_followed(server, tmp_path):
    server.redirects = {"/latest": "/rows.jsonl"}
    assert read(source(f"{server.url}/latest", scratch=tmp_path)) == ROWS


@pytest.mark.parametrize(
    "target",
    ["http://localhost:{port}/rows.jsonl?token=s3cret", "https://127.0.0.1:{port}/rows.jsonl", "http://127.0.0.1:9/a"],
    ids=["host", "scheme", "port"],
)
def test_redirect_to_another_origin_is_refused_with_its_target(server, tmp_path, monkeypatch, target):
    monkeypatch.setitem(fsspec.config.conf, "https", {"headers": {"Authorization": "Bearer token"}})
    location = target.format(port=server.url.rpartition(":")[2])
    server.redirects = {"/moved.jsonl": location}
    with pytest.raises(UserError) as error:
        read(source(f"{server.url}/moved.jsonl", scratch=tmp_path))
    assert error.value.message == (
        f"data.train: {server.url}/moved.jsonl: the server redirects to another one, {location.partition('?')[0]}; use"
        " that address."
    )
    assert server.requests == ["GET /moved.jsonl"]


def test_content_encoding_of_a_server_is_unpacked_as_it_is_read(server, tmp_path):
    server.files, server.content_encoding = {"/rows.jsonl": gzip.compress(ROWS)}, "gzip"
    where = source(f"{server.url}/rows.jsonl", scratch=tmp_path)
    assert read(where).startswith(b"\x1f\x8b")
    assert [row.line for row in read_valid_rows(where)] == [1, 2, 3]


def test_netrc_is_not_read(server, tmp_path, monkeypatch):
    write(tmp_path, ".netrc", b"machine 127.0.0.1 login me password s3cret\n").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(source(f"{server.url}/rows.jsonl", scratch=tmp_path)) == ROWS
    assert server.credentials == []


def test_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server.files = {"http://rows.example/rows.jsonl": ROWS}
    assert read(source("http://rows.example/rows.jsonl", scratch=tmp_path)) == ROWS


def test_download_is_for_its_owner_alone(server, tmp_path):
    scratch = tmp_path / "generate"
    read(source(f"{server.url}/rows.jsonl", scratch=scratch))
    assert scratch.stat().st_mode & 0o777 == 0o700


def test_unreachable_server_is_no_invalid_data(tmp_path):
    with pytest.raises(TryLater) as error:
        read(source("https://127.0.0.1:9/rows.jsonl", scratch=tmp_path))
    assert error.value.reason == "DataUnreachable"


def test_unknown_host_is_an_error(tmp_path):
    with pytest.raises(TryLater) as error:
        read(source("https://nowhere.invalid/rows.jsonl", scratch=tmp_path))
    assert "https://nowhere.invalid/rows.jsonl: the server's name cannot be resolved; correct it" in error.value.message


@pytest.mark.parametrize("status", [404, 403, 400])
def test_signature_of_a_link_is_not_shown(server, tmp_path, status):
    server.status = status
    with pytest.raises(UserError) as error:
        read(source(f"{server.url}/gone.jsonl?X-Amz-Signature=abc", scratch=tmp_path))
    assert f"{server.url}/gone.jsonl?…: " in error.value.message
    assert "abc" not in error.value.message


def stage_reading(tmp_path, uri: str, **environment: str) -> list:
    """The kept train rows of a stage whose train rows lie at the URI."""
    with gold_teacher(gold_of(nli_rows(12), nli_rows(6, 100), nli_rows(3, 200))) as teacher:
        run = GenerateRun(tmp_path, teacher.url, data={"train": {"uri": uri}})
        process = run.start(**environment)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return run.rows("train")


def test_stage_reads_rows_over_https_with_a_token_from_the_environment(tmp_path):
    made = write_certificates(tmp_path / "tls", ("127.0.0.1",), datetime.datetime.now(datetime.UTC))
    with file_server(made.server_certificate, made.server_key) as server:
        server.files, server.key = {"/train.jsonl.gz": gzip.compress(jsonl(nli_rows(12)))}, "Bearer token"
        headers = {"headers": {"Authorization": "Bearer token"}}
        environment = {"SSL_CERT_FILE": str(made.authority), "FSSPEC_HTTPS": orjson.dumps(headers).decode()}
        assert len(stage_reading(tmp_path, f"{server.url}/train.jsonl.gz", **environment)) == 12


def test_stage_reads_rows_of_a_data_set_on_the_hub(tmp_path, server):
    about = {"id": "org/name", "sha": "abc", "private": False, "downloads": 0, "likes": 0, "tags": [], "siblings": []}
    server.files = {
        "/api/datasets/org/name": orjson.dumps(about),
        "/datasets/org/name/resolve/main/nli/train.jsonl": jsonl(nli_rows(12)),
    }
    rows = stage_reading(tmp_path, "hf://datasets/org/name/nli/train.jsonl", HF_ENDPOINT=server.url, HF_HUB_OFFLINE="0")
    assert len(rows) == 12


# --- object stores


def test_file_in_s3(server, tmp_path, monkeypatch):
    no_variables(monkeypatch, "AWS_")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server.files, server.key = {"/bucket/nli/rows 1.jsonl": MANY, "/bucket/nli/rows%201.jsonl": MANY}, "the-key"
    assert read(source("s3://bucket/nli/rows 1.jsonl", scratch=tmp_path)) == MANY


def test_file_in_google_cloud_storage(server, tmp_path, monkeypatch):
    no_variables(monkeypatch, "GOOGLE_")
    account = {"gcs_base_url": server.url, "disable_oauth": True, "client_email": "", "private_key": ""}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", orjson.dumps(account | {"private_key_id": ""}).decode())
    server.files = {"/bucket/rows.jsonl": ROWS}
    assert read(source("gs://bucket/rows.jsonl", scratch=tmp_path)) == ROWS


def test_file_in_azure(server, tmp_path, monkeypatch):
    no_variables(monkeypatch, "AZURE_")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{server.url}/account")
    server.files = {"/account/container/rows.jsonl": ROWS}
    assert read(source("abfs://container/rows.jsonl", scratch=tmp_path)) == ROWS


@pytest.fixture
def s3(server, monkeypatch):
    no_variables(monkeypatch, "AWS_")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server.files = {"/bucket/rows.jsonl": ROWS}
    return server


def test_missing_key_of_a_bucket_is_an_error(s3, tmp_path):
    with pytest.raises(UserError) as error:
        read(source("s3://bucket/gone.jsonl", scratch=tmp_path))
    assert error.value.message.startswith("data.train: s3://bucket/gone.jsonl: the file does not exist")


def test_denied_access_names_the_variables_to_set(s3, tmp_path):
    s3.key = "right"
    with pytest.raises(UserError) as error:
        read(source("s3://bucket/rows.jsonl", scratch=tmp_path))
    assert error.value.message == (
        "data.train: s3://bucket/rows.jsonl: access is denied (HTTP 403). Name a Secret with AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY in data.credentials."
    )


def test_missing_credentials_are_reported_as_such(s3, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", s3.url)
    with pytest.raises(UserError) as error:
        read(source("s3://bucket/rows.jsonl", scratch=tmp_path))
    assert (
        "s3://bucket/rows.jsonl: credentials are missing. Name a Secret with AWS_ACCESS_KEY_ID" in error.value.message
    )


def test_bucket_in_another_region_is_reported_as_such(s3, tmp_path):
    s3.status = 301
    with pytest.raises(UserError) as error:
        read(source("s3://bucket/rows.jsonl", scratch=tmp_path))
    assert "the bucket is in another region. Name a Secret with AWS_REGION in data.credentials" in error.value.message


def test_object_store_that_fails_once_is_retried(s3, tmp_path):
    s3.failures = 1
    assert read(source("s3://bucket/rows.jsonl", scratch=tmp_path)) == ROWS


# --- files


def test_plain_path_may_contain_a_colon_and_a_star(tmp_path):
    assert read(source(write(tmp_path, "a::b*.jsonl", ROWS))) == ROWS


def test_file_that_grows_between_two_readings_is_an_error(tmp_path):
    path = write(tmp_path, "rows.jsonl", ROWS)
    where = source(path)
    check_rows([where], lambda _: None)
    path.write_bytes(ROWS + ROWS)
    with pytest.raises(UserError) as error:
        list(read_valid_rows(where))
    assert error.value.message == (
        f"The data changed during the run. data.train: {path}: The file differs from the one that was checked. Do"
        " not change the file, and run again: replies that are already paid for are reused."
    )


def test_file_that_grows_while_it_is_read_is_an_error(tmp_path):
    path = write(tmp_path, "rows.jsonl", ROWS)
    rows = read_valid_rows(source(path))
    next(rows)
    with path.open("ab") as stream:
        stream.write(ROWS)
    with pytest.raises(UserError, match="The data changed during the run"):
        list(rows)


def test_sources_of_a_run_are_those_that_are_given(tmp_path):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", validation=None, data={"validationFraction": 0.5})
    found = sources(RunConfig.read(run.config_file))
    assert [(each.split, each.uri) for each in found] == [("train", "train.jsonl"), ("test", "test.jsonl")]


@pytest.mark.parametrize("uri", ["s3://bucket/key", "https://host/path", "hf://datasets/org/name/rows.jsonl"])
def test_what_is_on_a_server_resolves_to_itself(tmp_path, uri):
    config = RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file)
    assert resolve(uri, config) == uri


@pytest.mark.parametrize("path", ["../rows.jsonl", "a/../../rows.jsonl", "link/rows.jsonl", "rows-link.jsonl"])
def test_path_that_leads_out_of_a_claim_is_refused(tmp_path, path):
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "link").symlink_to(tmp_path)
    (tmp_path / "claim" / "rows-link.jsonl").symlink_to(write(tmp_path, "rows.jsonl", ROWS))
    config = RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file)
    mounted = config.model_copy(update={"mounts": {"pvc://datasets": str(tmp_path / "claim")}})
    with pytest.raises(UserError) as error:
        resolve(f"pvc://datasets/{path}", mounted, "data.train")
    assert error.value.message == f"data.train: pvc://datasets/{path}: the path leads out of pvc://datasets."


def test_link_within_a_claim_is_followed(tmp_path):
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "link.jsonl").symlink_to(write(tmp_path / "claim", "rows.jsonl", ROWS))
    config = RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file)
    mounted = config.model_copy(update={"mounts": {"pvc://datasets": str(tmp_path / "claim")}})
    assert resolve("pvc://datasets/link.jsonl", mounted) == f"{tmp_path}/claim/link.jsonl"


# --- compressed files


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst", "rows.jsonl"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_file_is_recognised_by_its_bytes(tmp_path, codec, name):
    compressed = gzip.compress(ROWS) if codec == "gzip" else pyarrow.compress(ROWS, codec, asbytes=True)
    where = source(write(tmp_path, name, compressed + compressed))
    assert [row.line for row in read_valid_rows(where)] == [1, 2, 3, 4, 5, 6]


def test_file_that_is_only_named_compressed_is_read_as_it_is(tmp_path):
    assert len(list(read_valid_rows(source(write(tmp_path, "rows.jsonl.gz", ROWS))))) == 3


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_truncated_compressed_file_is_an_error_and_not_a_short_file(tmp_path, codec):
    compressed = gzip.compress(MANY) if codec == "gzip" else pyarrow.compress(MANY, codec, asbytes=True)
    with pytest.raises(UserError) as error:
        check_rows([source(write(tmp_path, "rows.jsonl.gz", compressed[: len(compressed) // 2]))], lambda _: None)
    assert "the rest of the file cannot be read: it is truncated or damaged" in error.value.message


def test_other_compressions_are_named(tmp_path):
    with pytest.raises(UserError) as error:
        check_rows([source(write(tmp_path, "rows.jsonl.bz2", b"BZh91AY&SY"))], lambda _: None)
    assert "the file is compressed with bzip2; compress it with gzip or zstd, or not at all" in error.value.message
