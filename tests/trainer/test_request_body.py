"""What a request may ask of the Transformers server. Every other field is refused rather than ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from distillery_trainer.serving.called_tools import with_calls
from distillery_trainer.serving.request_body import ChatRequest, CompletionRequest, RefusedRequest, read_request

MESSAGES = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "student", "messages": MESSAGES}


def read_chat(**fields: Any) -> dict[str, Any]:
    return read_request(json.dumps({**CHAT, **fields}).encode(), ChatRequest, ("student", "gpt-4o"))


def refusal(content: bytes) -> str:
    with pytest.raises(RefusedRequest) as refused:
        read_request(content, ChatRequest, ("student", "gpt-4o"))
    return str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0, "top_p": 0.5, "seed": 7, "top_k": 40, "user": "a", "metadata": {"a": "b"}},
        {"n": 1, "best_of": 1, "logprobs": False, "top_logprobs": 0, "echo": False, "logit_bias": {}},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": []},
        {"response_format": {"type": "text"}, "presence_penalty": 0.0, "frequency_penalty": 0},
        {"stop": None, "chat_template": None, "n": None, "stream_options": None},
        {"stream": False, "max_tokens": None, "store": False, "modalities": ["text"], "service_tier": "auto"},
    ],
)
def test_fields_that_ask_for_what_the_server_does_anyway_are_accepted(fields: dict[str, Any]) -> None:
    assert read_chat(**fields) == {**CHAT, "max_tokens": None, "stream": False}


def test_limits_streams_and_text_parts_reach_the_model() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    messages = [{"role": "system", "content": "Say."}, {"role": "user", "content": parts}]
    assert read_chat(messages=messages, max_completion_tokens=5, max_tokens=9, stream=True) == {
        "model": "student",
        "messages": [{"role": "system", "content": "Say."}, *MESSAGES],
        "max_tokens": 5,
        "stream": True,
    }
    completion = b'{"model": "student", "prompt": "Hello", "max_tokens": 3}'
    assert read_request(completion, CompletionRequest, ("student", "gpt-4o")) == {
        "model": "student",
        "prompt": "Hello",
        "max_tokens": 3,
        "stream": False,
    }


TOOL = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_tools_calls_and_results_reach_the_model() -> None:
    messages = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "b", "tool_call_id": "a"},
    ]
    read = read_chat(messages=messages, tools=[TOOL], tool_choice="auto")
    assert read["tools"] == [TOOL]
    assert read["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "b", "tool_call_id": "a"},
    ]
    assert "tools" not in read_chat(tools=[TOOL], tool_choice="none")


def test_calls_in_a_reply_are_sent_apart_from_its_text() -> None:
    content = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    [answered] = json.loads(with_calls(JSONResponse({"id": "x", "choices": [choice]})).body)["choices"]
    assert answered["finish_reason"] == "tool_calls"
    assert answered["message"]["content"] is None
    assert answered["message"]["tool_calls"] == [
        {**CALL, "id": "x-call-0", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    words = {"id": "x", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    assert json.loads(with_calls(JSONResponse(words)).body) == words


REFUSED = "not supported by this server with this value; remove it"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"chat_template": "{% for i in range(9) %}{% endfor %}"}, f"chat_template: {REFUSED}"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, f"chat_template_kwargs: {REFUSED}"),
        ({"generation_config": "{}"}, f"generation_config: {REFUSED}"),
        ({"n": 2}, f"n: {REFUSED}"),
        ({"tools": [{"type": "function"}]}, "tools.0.function: field required"),
        ({"tools": [TOOL], "stream": True}, "stream: not supported by this server together with tools; remove it"),
        ({"tools": [TOOL], "tool_choice": "required"}, f"tool_choice: {REFUSED}"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}],
                    }
                ]
            },
            "messages: the arguments of f are not JSON",
        ),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0: a message needs content"),
        ({"logprobs": True}, f"logprobs: {REFUSED}"),
        ({"response_format": {"type": "json_object"}}, f"response_format: {REFUSED}"),
        ({"stop": "\n"}, f"stop: {REFUSED}"),
        ({"frequency_penalty": 1}, f"frequency_penalty: {REFUSED}"),
        ({"logit_bias": {"5": 100}}, f"logit_bias: {REFUSED}"),
        ({"documents": []}, f"documents: {REFUSED}"),
        ({"temperature": 0.7}, "temperature: this server always gives the most likely answer; remove it, or send 0"),
        ({"model": "/etc"}, "model: this server has only student, gpt-4o"),
        ({"model": None}, "model: field required"),
        ({"messages": []}, "messages: list should have at least 1 item after validation, not 0"),
        ({"messages": "Hello"}, "messages: input should be a valid list"),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            "messages.0.role: input should be 'system', 'user', 'assistant' or 'tool'",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": []}]},
            "messages.0.tool_calls: list should have at least 1 item after validation, not 0",
        ),
        ({"max_tokens": 0}, "max_tokens: input should be greater than or equal to 1"),
        ({"max_tokens": 1e30}, "max_tokens: input should be a valid integer"),
        ({"stream": "yes"}, "stream: input should be a valid boolean"),
    ],
)
def test_what_would_be_ignored_or_harm_is_refused_with_the_field(fields: dict[str, Any], sentence: str) -> None:
    assert refusal(json.dumps({**CHAT, **fields}).encode()) == sentence


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"model": "\\ud800"}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[1]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, sentence: str) -> None:
    assert refusal(body) == sentence


def test_a_template_beside_a_harmless_one_of_the_same_name_does_not_reach_the_model() -> None:
    body = b'{"model": "student", "messages": [{"role": "user", "content": "Hello"}], "chat_template": "x", '
    assert read_request(body + b'"chat_template": null}', ChatRequest, ("student", "gpt-4o")) == read_chat()
    assert refusal(body + b'"chat_template": "y"}') == f"chat_template: {REFUSED}"


def test_a_long_field_name_is_shortened() -> None:
    assert len(refusal(json.dumps({**CHAT, "a" * 100_000: 1}).encode())) < 300


def test_a_further_name_is_the_same_model() -> None:
    body = json.dumps({**CHAT, "model": "gpt-4o"}).encode()
    assert read_request(body, ChatRequest, ("student", "gpt-4o"))["model"] == "student"
