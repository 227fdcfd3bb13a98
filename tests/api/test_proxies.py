"""Which requests go through the proxy that the environment names."""

import pytest

from distillery_api.runtime.proxies import Proxy, is_local, proxy_for

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("teacher.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("teacher.example", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_all_its_names(host, local):
    assert is_local(host) is local


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:80/v1"])
def test_this_machine_is_never_reached_through_a_proxy(url, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("all_proxy", "http://proxy.example:3128")
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://teacher.example/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://teacher.example/v1", "http://p:1 (HTTPS_PROXY)"),
        ({"https_proxy": "http://p:1"}, "http://teacher.example/v1", None),
        ({"http_proxy": "p:1"}, "http://teacher.example/v1", "http://p:1 (HTTP_PROXY)"),
        ({"all_proxy": "http://p:1"}, "https://teacher.example/v1", "http://p:1 (ALL_PROXY)"),
        ({"https_proxy": "http://u:s3cret@p:1"}, "https://teacher.example/v1", "http://p:1 (HTTPS_PROXY)"),
        ({"https_proxy": "http://p:1", "no_proxy": ".example"}, "https://teacher.example/v1", None),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, "https://teacher.example/v1", None),
        ({"https_proxy": ""}, "https://teacher.example/v1", None),
    ],
)
def test_proxy_is_the_one_that_the_environment_names(environment, url, proxy, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (None if found is None else str(found)) == proxy


@pytest.mark.parametrize(
    ("url", "usable"),
    [
        ("http://proxy.example:3128", True),
        ("https://user:s3cret@proxy.example", True),
        ("http://[::1]:80", True),
        ("socks5://proxy.example", False),
        ("http://", False),
        ("http://[::1", False),
        ("http://proxy.example:http", False),
        ("http://::::", False),
    ],
)
def test_proxy_that_is_none_is_noticed(url, usable):
    assert Proxy(url, "HTTP_PROXY").is_usable is usable
    assert "s3cret" not in str(Proxy(url, "HTTP_PROXY"))
