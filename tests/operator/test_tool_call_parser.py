"""Calls of a served student: vLLM is told which parser reads them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distillery_api.runtime import tool_call_parser
from distillery_api.runtime.tool_call_parser import parser_of
from distillery_api.spec import Serving
from distillery_operator.manifests.model_server import ModelServer, model_server
from distillery_operator.manifests.settings import ManifestSettings

SETTINGS = ManifestSettings("distillery-trainer:1", "vllm-openai:1", "vllm-openai-cpu:1")


def server(*, calls_tools: bool = True, **serving: object) -> ModelServer:
    return model_server(Serving.model_validate(serving), "home", "bfloat16", SETTINGS, calls_tools=calls_tools)


FINDS = ("python3", "-m", "tool_call_parser", "/models/home", "vllm", "serve")


def test_the_parser_is_found_in_the_pod_by_the_students_chat_template() -> None:
    found = server()
    assert found.command[:6] == FINDS
    assert "tool_call_parser" in found.modules


def test_other_tasks_need_no_parser() -> None:
    found = server(calls_tools=False)
    assert (found.command[:2], "tool_call_parser" in found.modules) == (("vllm", "serve"), False)


@pytest.mark.parametrize(
    "arguments", [["--tool-call-parser", "granite"], ["--tool_call_parser=granite"], ["--tool-call-parser=granite"]]
)
def test_the_users_own_parser_comes_first(arguments: list[str]) -> None:
    found = server(runtimeArgs=arguments)
    assert found.command[:2] == ("vllm", "serve")
    assert found.command[-len(arguments) - 1 :] == (*arguments, "--enable-auto-tool-choice")
    assert "tool_call_parser" not in found.modules


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{{ '<tool_call>' }}", "hermes"),
        ("{{ '<tool_call>' }} … {{ '[TOOL_CALLS]' }}", "hermes"),
        ("{{ '[TOOL_CALLS] [' }}", "mistral"),
        ("""{{ '{"name": "f", "parameters": ' }}""", "llama3_json"),
        ("{{ '<|im_start|>' }}", None),
    ],
)
def test_parser_of_a_chat_template(template: str, parser: str | None) -> None:
    assert parser_of(template) == parser


def run_module(folder: Path, template: str) -> subprocess.CompletedProcess[str]:
    (folder / "chat_template.jinja").write_text(template)
    command = [sys.executable, tool_call_parser.__file__, str(folder), "/bin/echo", "serve"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def test_the_program_becomes_vllm_with_the_options(tmp_path: Path) -> None:
    assert run_module(tmp_path, "<tool_call>").stdout == "serve --enable-auto-tool-choice --tool-call-parser hermes\n"


def test_the_program_says_what_to_do_where_no_parser_is_known(tmp_path: Path) -> None:
    ended = run_module(tmp_path, "nothing")
    assert (ended.returncode, "name one of vLLM's in serving.runtimeArgs" in ended.stderr) == (2, True)
