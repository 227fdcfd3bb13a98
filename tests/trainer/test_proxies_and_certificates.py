"""What stands between the stage and a teacher: a proxy, and a certificate of a private authority."""

import datetime
import os
import subprocess
import sys

import pytest

from certificates import write_certificates
from direct_chat_client import Reply, chat_client, prompt_about, run_config
from distillery_trainer.runtime.errors import TryLater, UserError
from generate_run import GenerateRun, nli_rows
from raw_server import always, http, raw_server, whole_reply
from teacher_server import gold_teacher

PROMPT = prompt_about(1)
PAGE = b"<html><h1>Access denied</h1></html>"
TEACHER = "//teacher.invalid/v1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


async def error_of(tmp_path, url):
    async with chat_client(run_config(tmp_path, url, config={"maxAttempts": 1})) as (teacher, _):
        with pytest.raises((TryLater, UserError)) as caught:
            await teacher.ask(PROMPT)
    return caught.value


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (407, UserError, "requires a user and a password: write http://USER:PASSWORD@HOST:PORT in the variable."),
        (403, UserError, "does not forward requests to this server: allow it there, or name it in NO_PROXY."),
        (502, TryLater, "502"),
        (503, TryLater, "503"),
    ],
)
async def test_fault_of_a_proxy_names_the_proxy(tmp_path, monkeypatch, scheme, status, error, words):
    with raw_server(always(http(status, PAGE, {"Content-Type": "text/html"}))) as proxy:
        address = proxy.address.replace("http://", "http://user:s3cret@")
        monkeypatch.setenv(f"{scheme}_proxy", address)
        caught = await error_of(tmp_path, f"{scheme}:{TEACHER}")
    assert type(caught) is error
    assert words in caught.message
    assert f"proxy {proxy.address} ({scheme.upper()}_PROXY)" in caught.message
    assert "s3cret" not in caught.message


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_that_cannot_be_reached_is_named(tmp_path, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme}_proxy", "http://user:s3cret@127.0.0.1:9")
    caught = await error_of(tmp_path, f"{scheme}:{TEACHER}")
    assert type(caught) is TryLater
    assert f"The proxy http://127.0.0.1:9 ({scheme.upper()}_PROXY) cannot be reached" in caught.message
    assert "s3cret" not in caught.message


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "ftp://127.0.0.1:9", "http://", "http://[::1", "::::"])
async def test_proxy_of_another_kind_is_refused_with_a_sentence(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    caught = await error_of(tmp_path, f"http:{TEACHER}")
    assert type(caught) is UserError
    assert "HTTP_PROXY" in caught.message


async def test_servers_own_error_is_not_blamed_on_the_proxy(tmp_path, monkeypatch):
    with raw_server(always(http(401, b'{"error": {"message": "Wrong key."}}'))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        caught = await error_of(tmp_path, f"http:{TEACHER}")
    assert "proxy" not in caught.message


async def test_server_on_this_machine_is_reached_without_the_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with raw_server(always(whole_reply())) as server:
        for number, url in enumerate([server.url, server.url.replace("127.0.0.1", "localhost")]):
            async with chat_client(run_config(tmp_path / str(number), url)) as (teacher, _):
                assert isinstance(await teacher.ask(PROMPT), Reply)


# --- certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    now = datetime.datetime.now(datetime.UTC)
    return write_certificates(tmp_path_factory.mktemp("certificates"), ("127.0.0.1",), now)


@pytest.fixture
def tls_server(certificates):
    pair = str(certificates.server_certificate), str(certificates.server_key)
    with raw_server(always(whole_reply("entailment")), pair) as server:
        yield server


async def test_certificate_that_is_not_trusted_names_the_variable(tmp_path, tls_server):
    caught = await error_of(tmp_path, tls_server.url)
    assert type(caught) is UserError
    assert "The server's TLS certificate is not trusted." in caught.message
    assert "set SSL_CERT_FILE to a file with the certificates of all authorities to trust" in caught.message
    assert "certificate verify failed" in caught.message


def test_authority_that_ssl_cert_file_names_is_trusted(tmp_path, tls_server, certificates):
    run = GenerateRun(tmp_path, tls_server.url, train=nli_rows(1), validation=nli_rows(1, 102), test=nli_rows(1, 201))
    environment = {**os.environ, "SSL_CERT_FILE": str(certificates.authority)}
    command = [sys.executable, "-m", "distillery_trainer", "generate", "--config", str(run.config_file)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr
    assert run.result.rows.kept == 3


async def test_server_without_tls_at_a_tls_address_is_final_at_once(tmp_path):
    with gold_teacher({}) as server:
        caught = await error_of(tmp_path, server.url.replace("http:", "https:"))
    assert type(caught) is UserError
    assert "There is no TLS at this port: write http:// in the address of the server" in caught.message
