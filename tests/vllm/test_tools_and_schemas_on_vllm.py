"""Calls of tools and objects of a schema on vLLM, started as for a student of the task ToolCalling."""

import json
import os

import pytest

from distillery_trainer.student.hermes_tools import HERMES_TOOLS
from vllm_server import NAME, vllm_server

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "strict": True,  # without it, vLLM lets the model choose the arguments
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
                       "required": ["city"], "additionalProperties": False},
    },
}  # fmt: skip
INVOICE = {
    "type": "object",
    "properties": {"paid": {"type": "boolean"}, "currency": {"type": "string", "enum": ["EUR", "USD"]}},
    "required": ["paid", "currency"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(vllm, student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools") / "model"
    folder.mkdir()
    for path in student.iterdir():
        if path.name != "chat_template.jinja":
            os.symlink(path, folder / path.name)
    (folder / "chat_template.jinja").write_text(HERMES_TOOLS + (student / "chat_template.jinja").read_text())
    with vllm_server(vllm, folder, folder.parent / "log.txt", task="ToolCalling") as running:
        yield running


def test_a_call_comes_back_as_a_call_of_the_tool(server):
    message = {"role": "user", "content": "What is the weather in Oslo?"}
    response = server.post(
        "/v1/chat/completions", model=NAME, messages=[message], tools=[WEATHER], tool_choice="required", max_tokens=60
    )
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    called = choice["message"]["tool_calls"][0]["function"]
    assert called["name"] == "weather"
    assert json.loads(called["arguments"])["city"] in ("Oslo", "Rome")


@pytest.mark.parametrize("content", ["Hello.", [{"type": "text", "text": "Hello."}]])
@pytest.mark.parametrize("tools", [{}, {"tools": [WEATHER]}], ids=["without tools", "with tools"])
def test_contents_may_be_texts_or_parts_with_tools_and_without(server, content, tools):
    message = {"role": "user", "content": content}
    response = server.post("/v1/chat/completions", model=NAME, messages=[message], max_tokens=12, **tools)
    assert response.status_code == 200, response.text


def test_an_answer_keeps_to_the_schema_of_the_request(server):
    schema = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": INVOICE}}
    found = json.loads(server.ask("Invoice 7 over 12 EUR is paid.", response_format=schema, max_tokens=60))
    assert (type(found["paid"]), found["currency"] in ("EUR", "USD")) == (bool, True)
