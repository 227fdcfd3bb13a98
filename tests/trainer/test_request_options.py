"""What requests carry beside messages and sampling: keys of the body, headers, parameters, and deployments on Azure."""

import json

import pytest
from pydantic import ValidationError

from direct_chat_client import Reply, chat_client, prompt_about, run_config
from distillery_api.spec.request_options import Header, QueryParameter, RequestOptions
from distillery_trainer.chat.request_target import request_target
from distillery_trainer.filters.llm_judge import PARAMETERS
from distillery_trainer.runtime.errors import TryLater, UserError
from raw_server import always, http, raw_server, whole_reply
from teacher_server import gold_teacher

AZURE = "/openai/deployments/gpt-4o/chat/completions"
SECRETS = {"apiKeyVariables": {"gateway/token": "GATEWAY_TOKEN", "teacher/api-key": "TEACHER_KEY"}}
KEY = {"apiKey": {"secretName": "teacher"}}


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("GATEWAY_TOKEN", "token-of-the-gateway-1")
    monkeypatch.setenv("TEACHER_KEY", "key-of-the-teacher-1")


async def head_of_request(tmp_path, path: str = "/v1", **teacher) -> list[str]:
    """The lines of the head of a request that was answered."""
    with raw_server(always(whole_reply())) as server:
        config = run_config(tmp_path, server.address + path, teacher=teacher, config=SECRETS)
        async with chat_client(config) as (client, _):
            assert isinstance(await client.ask(prompt_about(1)), Reply)
    return server.requests[0].splitlines()


async def test_extra_body_and_effort_are_sent_with_each_request(tmp_path):
    extra = {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
    with gold_teacher({}) as server:
        config = run_config(tmp_path, server.url, teacher={"extraBody": extra, "reasoningEffort": "low"})
        async with chat_client(config) as (client, _):
            await client.ask(prompt_about(1))
    body = server.requests[0].body
    assert {key: body[key] for key in (*extra, "reasoning_effort", "model", "max_tokens")} == {
        **extra,
        "reasoning_effort": "low",
        "model": "teacher",
        "max_tokens": 128,
    }


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_number_that_json_has_not_is_refused(number):
    with pytest.raises(ValidationError, match="extraBody has a number that JSON has not"):
        RequestOptions.model_validate({"extraBody": {"a": [{"b": number}]}})


async def test_another_extra_body_is_another_request_and_another_header_is_not(tmp_path):
    headers = [{"name": "X-Team", "value": "nlp"}]
    with gold_teacher({}) as server:
        for teacher in ({}, {"extraBody": {"top_k": 2}}, {"reasoningEffort": "low"}, {}, {"headers": headers}):
            async with chat_client(run_config(tmp_path, server.url, teacher=teacher)) as (client, _):
                await client.ask(prompt_about(1))
    assert len(server.requests) == 3


async def test_judge_has_options_of_its_own(tmp_path):
    with gold_teacher({}) as server:
        judge = {"endpoint": server.url, "model": "teacher", "extraBody": {"top_k": 2}}
        config = run_config(tmp_path, server.url, generation={"judge": judge}, teacher={"extraBody": {"top_k": 9}})
        async with chat_client(config) as (client, _):
            judging = client.for_judge(config.generation.judge, PARAMETERS)
            await judging.ask(prompt_about(1))
            await judging.close()
    assert server.requests[0].body["top_k"] == 2


async def test_headers_and_parameters_are_sent_and_may_come_from_secrets(tmp_path):
    secret = {"secretName": "gateway", "key": "token"}
    head = await head_of_request(
        tmp_path,
        headers=[{"name": "X-Team", "value": "nlp"}, {"name": "X-Key", "secret": secret}],
        query=[{"name": "api-version", "value": "2024-10-21"}, {"name": "key", "secret": secret}],
        **KEY,
    )
    assert head[0] == ("POST /v1/chat/completions?api-version=2024-10-21&key=token-of-the-gateway-1 HTTP/1.1")
    assert {"X-Team: nlp", "X-Key: token-of-the-gateway-1", "Authorization: Bearer key-of-the-teacher-1"} <= set(head)


async def test_header_replaces_that_of_the_client(tmp_path):
    secret = {"secretName": "gateway", "key": "token"}
    headers = [{"name": "user-agent", "value": "mine"}, {"name": "authorization", "secret": secret}]
    head = await head_of_request(tmp_path, headers=headers)
    assert [line for line in head if line.lower().startswith(("user-agent", "authorization"))] == [
        "user-agent: mine",
        "authorization: token-of-the-gateway-1",
    ]


async def test_deployment_on_azure_gets_its_key_in_its_own_header(tmp_path):
    head = await head_of_request(tmp_path, f"{AZURE}?api-version=2024-10-21", **KEY)
    assert head[0] == f"POST {AZURE}?api-version=2024-10-21 HTTP/1.1"
    assert "api-key: key-of-the-teacher-1" in head
    assert not [line for line in head if line.startswith("Authorization")]


@pytest.mark.parametrize(
    ("url", "query", "sent"),
    [
        ("https://t.example/v1/", [], "https://t.example/v1/chat/completions"),
        ("https://t.example/v1", [("a", "b c&d=e+f")], "https://t.example/v1/chat/completions?a=b%20c%26d%3De%2Bf"),
        ("https://t.example/v1", [("a", "1"), ("a", "2")], "https://t.example/v1/chat/completions?a=1&a=2"),
        (f"https://x.openai.azure.com{AZURE}?api-version=1", [("a", "b")],
         f"https://x.openai.azure.com{AZURE}?api-version=1&a=b"),
    ],
)  # fmt: skip
def test_parameters_are_part_of_the_url(url, query, sent):
    parameters = [QueryParameter(name=name, value=value) for name, value in query]
    assert request_target(url, None, query=parameters).url == sent


def test_secrets_are_not_shown():
    secret = {"secretName": "gateway", "key": "token"}
    header, parameter = Header(name="X-Key", secret=secret), QueryParameter(name="key", secret=secret)
    target = request_target("https://t.example/v1", "the-key-itself", [header], [parameter], lambda _: "s3cret-value")
    assert target.secrets == ("the-key-itself", "s3cret-value", "s3cret-value")
    assert "s3cret" not in repr(target)
    assert "the-key" not in repr(target)


async def test_secret_that_a_server_repeats_is_removed_from_its_words(tmp_path):
    body = json.dumps({"error": {"message": "Wrong token token-of-the-gateway-1 in X-Key"}}).encode()
    secret = {"secretName": "gateway", "key": "token"}
    with raw_server(always(http(401, body))) as server:
        headers = [{"name": "X-Key", "secret": secret}]
        config = run_config(tmp_path, server.url, teacher={"headers": headers}, config=SECRETS)
        async with chat_client(config) as (client, _):
            with pytest.raises(UserError) as error:
                await client.ask(prompt_about(1))
    assert "Wrong token *** in X-Key" in error.value.message


async def test_empty_secret_of_a_header_names_the_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_TOKEN", " ")
    headers = [{"name": "X-Key", "secret": {"secretName": "gateway", "key": "token"}}]
    config = run_config(tmp_path, "http://127.0.0.1:9/v1", teacher={"headers": headers}, config=SECRETS)
    with pytest.raises(UserError) as error:
        async with chat_client(config):
            pass
    assert error.value.message == (
        "Teacher tester (teacher at http://127.0.0.1:9/v1): the value of a header or a parameter is empty. Check the"
        " key token of the Secret gateway (generation.teachers: headers, query)."
    )


# --- what is final at once


async def failure_of(tmp_path, url: str) -> UserError | TryLater:
    async with chat_client(run_config(tmp_path, url)) as (client, _):
        client.retries.first_back_off = 0.001
        with pytest.raises((UserError, TryLater)) as error:
            await client.ask(prompt_about(1))
    return error.value


async def test_host_that_does_not_exist_is_final_at_once(tmp_path):
    error = await failure_of(tmp_path, "https://no-such-host.invalid/v1")
    assert isinstance(error, UserError)
    assert "There is no host of this name: correct the address of the server" in error.message


async def test_refused_connection_may_pass(tmp_path):
    assert isinstance(await failure_of(tmp_path, "http://127.0.0.1:9/v1"), TryLater)
