"""The student prompt inside the chat template: a client's input alone renders as it did in training."""

import json
import subprocess
import sys
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_templates import CHAT_TEMPLATES
from distillery_api.runtime import baked_prompt
from distillery_api.runtime.baked_prompt import baked_template
from distillery_trainer.student.chat_template import Rendering
from tiny_model import read_tokenizer, write_tiny_model

INPUT = {"role": "user", "content": "A cat sits."}
ANSWERED = [INPUT, {"role": "assistant", "content": "neutral"}, {"role": "user", "content": "And a dog?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return read_tokenizer(folder)


def rendered(tokenizer, template, messages):
    return tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True, tokenize=False)


@pytest.mark.parametrize("family", sorted(CHAT_TEMPLATES))
def test_an_input_alone_renders_as_under_the_prompt(tokenizer, family):
    tokenizer.chat_template = CHAT_TEMPLATES[family]
    saved = Rendering(thinking=False, today=date(2026, 11, 9)).template(tokenizer)
    baked = baked_template(saved, "Say a label.")
    for messages in ([INPUT], ANSWERED):
        under_prompt = [{"role": "system", "content": "Say a label."}, *messages]
        assert rendered(tokenizer, baked, messages) == rendered(tokenizer, saved, under_prompt)
        of_client = [{"role": "system", "content": "Speak French."}, *messages]
        assert rendered(tokenizer, baked, of_client) == rendered(tokenizer, saved, of_client)


@given(st.text(min_size=1, max_size=200))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_prompt_stands_there_unchanged(tokenizer, prompt):
    template = "{%- for m in messages %}[{{ m.role }}|{{ m.content }}]{%- endfor %}"
    expected = f"[system|{prompt}][user|A cat sits.]" if prompt.strip() else "[user|A cat sits.]"
    assert rendered(tokenizer, baked_template(template, prompt), [INPUT]) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ 1 + 1 }} {% raw %} {# no #}",
        "a \"quote\", 'another' and a \\ backslash\\n",
        "line\r\nline\n\n",
        "😀 é \u2028",
    ],
)
def test_a_prompt_is_no_program(tokenizer, prompt):
    template = "{{- messages[0].content }}"
    assert rendered(tokenizer, baked_template(template, prompt), [INPUT]) == prompt


def run_as_program(tmp_path, *arguments):
    command = [sys.executable, baked_prompt.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)


def test_the_program_writes_the_template_and_becomes_the_server(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{- messages[0].content }}"}))
    (tmp_path / "prompt.txt").write_text("Say a label.")
    files = (tmp_path, tmp_path / "prompt.txt", tmp_path / "baked.jinja")
    ended = run_as_program(tmp_path, *files, "echo", "serve", "--chat-template")
    assert (ended.returncode, ended.stdout) == (0, "serve --chat-template\n")
    expected = baked_template("{{- messages[0].content }}", "Say a label.")
    assert (tmp_path / "baked.jinja").read_text() == expected


def test_a_missing_prompt_is_a_sentence(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("x")
    ended = run_as_program(tmp_path, tmp_path, tmp_path / "none.txt", tmp_path / "baked.jinja", "echo")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("serving.bakePrompt: the student prompt cannot be read: [Errno 2]")
