"""The paths that vLLM's server has in a Pod: the filter in front of it, as a server calls it."""

import json

import pytest

from distillery_operator.manifests.served_paths import ServedPaths

SERVED = ["/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics"]


async def application(scope, receive, send):
    """vLLM, which answers everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})


async def responded(path, method="POST", **headers):
    """Status and body of the response to a request."""
    sent = []

    async def send(message):
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": named}
    await ServedPaths(application)(scope, None, send)
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize("path", SERVED)
async def test_request_to_a_served_path_reaches_the_server(path):
    assert await responded(path, content_length="2") == (200, b"answered")
    assert await responded(path, method="GET") == (200, b"answered")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/invocations",
        "/inference/v1/abort_requests",
        "/scale_elastic_ep",
        "/v1/load_lora_adapter",
        "/v1/responses",
        "/tokenize",
        "/v1/models/",
        "//v1/models",
        "/v1/chat/completions/render",
        "/V1/models",
        "/v1/../v1/models",
    ],
)
async def test_every_other_path_does_not_exist(path):
    status, body = await responded(path, content_length="2")
    assert status == 404
    assert json.loads(body)["error"]["message"].startswith("this server has only /health, /metrics, /v1/chat/")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 411),
        ({"transfer_encoding": "chunked"}, 411),
        ({"content_length": "-1"}, 411),
        ({"content_length": "16777216"}, 200),
        ({"content_length": "16777217"}, 413),
        ({"content_length": "9" * 5000}, 413),
    ],
)
async def test_body_has_a_known_and_bounded_length(headers, status):
    assert (await responded("/v1/completions", **headers))[0] == status


async def test_start_reaches_the_server_and_a_websocket_is_closed():
    seen, sent = [], []

    async def inner(scope, receive, send):
        seen.append(scope["type"])

    async def send(message):
        sent.append(message)

    for kind in ("lifespan", "websocket"):
        await ServedPaths(inner)({"type": kind, "path": "/health"}, None, send)
    assert (seen, sent) == (["lifespan"], [{"type": "websocket.close"}])
