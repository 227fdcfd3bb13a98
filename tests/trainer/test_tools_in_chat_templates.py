"""Tools in a student's chat template: which ones can be trained to call them, and the Hermes form for the others."""

import json
import shutil
from datetime import date

import pytest

from chat_templates import CHAT_TEMPLATES
from distillery_trainer.data.tool_calls import Call
from distillery_trainer.data.tool_messages import with_tools
from distillery_trainer.parsing.tool_calls import read_calls
from distillery_trainer.student.chat_template import Rendering, render
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import IGNORED, RowEncoder
from distillery_trainer.student.tool_check import check_tools
from tiny_model import write_tiny_model

DAY = date(2026, 11, 9)
OWN, HERMES = Rendering(False, DAY), Rendering(False, DAY, hermes_tools=True)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "In a city.", "parameters": {"type": "object", "properties": {}}},
}
OSLO = {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
ROME = {"id": "call00002", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rom é"}}}
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rain?"}]
CALLS = {"role": "assistant", "content": "", "tool_calls": [OSLO, ROME]}
RESULTS = [
    {"role": "tool", "content": "wet", "tool_call_id": "call00001"},
    {"role": "tool", "content": "dry", "tool_call_id": "call00002"},
]

_TOOLS = "{%- if tools %}{{- '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{%- endif %}"
_END = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
_BEGIN = "{{- '<|im_start|>' + m.role + '\\n' + m.content }}"
FAMILIES = {
    # Hermes, Qwen 2.5 and 3: a block for each call.
    "blocks": _TOOLS + "{%- for m in messages %}" + _BEGIN + "{%- for call in m.tool_calls or [] %}"
    "{{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}"
    "{%- endfor %}" + _END,
    # Llama 3: parameters, and one call after the other.
    "parameters": _TOOLS + "{%- for m in messages %}" + _BEGIN + "{%- for call in m.tool_calls or [] %}"
    "{{- '{\"name\": \"' + call.function.name + '\", \"parameters\": ' + (call.function.arguments | tojson) + '}; ' }}"
    "{%- endfor %}{{- '<|im_end|>\\n' }}{%- endfor %}" + _END,
    # Mistral: a list after a mark, and ids of nine letters and digits.
    "list": _TOOLS + "{%- for m in messages %}" + _BEGIN + "{%- for call in m.tool_calls or [] %}"
    "{%- if call.id | length != 9 %}{{ raise_exception('ids have nine letters') }}{%- endif %}"
    "{{- ('[TOOL_CALLS][' if loop.first else ', ') + (dict(call.function, id=call.id) | tojson) }}"
    "{{- ']' if loop.last else '' }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endfor %}" + _END,
}
NO_TOOLS = CHAT_TEMPLATES["default system message"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def student(tiny, tmp_path):
    def make(template, rendering=OWN):
        folder = shutil.copytree(tiny, tmp_path / "base", dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        base = open_folder(folder, "base", rendering.template)
        return base, RowEncoder(base, 2048)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_template_that_calls_tools_is_trained_as_it_is(student, family):
    base, encoder = student(FAMILIES[family])
    check_tools(base, encoder)
    row = encoder.encode({"prompt": CHAT, "completion": [CALLS], "tools": [TOOL]})
    answer = base.tokenizer.decode([label for label in row.labels if label != IGNORED], skip_special_tokens=True)
    assert read_calls(answer) == [Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rom é"})]


REFUSED = {
    "no tools": (NO_TOOLS, "the chat template does not write tools; set student.toolFormat to Hermes"),
    "no calls": (
        _TOOLS + "{%- for m in messages %}" + _BEGIN + "{{- '<|im_end|>\\n' }}{%- endfor %}" + _END,
        "the chat template writes calls in a form that is not read here",
    ),
    "one call": (
        FAMILIES["blocks"].replace(
            "{%- for call", "{%- if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('one call') }}"
            "{%- endif %}{%- for call", 1
        ),
        "the chat template rejects a chat of system, user, assistant (one call)",
    ),
    "XML": (
        FAMILIES["blocks"].replace("(call.function | tojson)", "'<function=' + call.function.name + '></function>'"),
        "the chat template writes calls in a form that is not read here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("template", REFUSED)
def test_template_that_cannot_call_tools_is_refused_with_the_reason(student, template):
    base, encoder = student(REFUSED[template][0])
    with pytest.raises(InvalidModel) as error:
        check_tools(base, encoder)
    assert REFUSED[template][1] in str(error.value)
    assert "student.toolFormat" in str(error.value)


@pytest.mark.parametrize("template", ["default system message", "may think", "refuses system messages", *FAMILIES])
def test_hermes_form_suits_any_template(student, template):
    base, encoder = student((CHAT_TEMPLATES | FAMILIES)[template], HERMES)
    check_tools(base, encoder)


HERMES_PROMPT = (
    "<|im_start|>system\nBe brief.\n\nYou can call these functions:\n<tools>\n" + json.dumps(TOOL) + "\n</tools>\n"
    "Write each call as JSON between marks:\n"
    '<tool_call>\n{"name": "FUNCTION", "arguments": {"ARGUMENT": "value"}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n"
)
HERMES_CALLS = (
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Rom é"}}\n</tool_call><|im_end|>\n'
)


def test_hermes_form_word_for_word(student):
    base, _ = student(NO_TOOLS, HERMES)
    prompt = with_tools([*CHAT, CALLS, *RESULTS], [TOOL])
    assert render(base.tokenizer, "base", prompt, add_generation_prompt=True) == (
        HERMES_PROMPT + HERMES_CALLS + "<|im_start|>user\n<tool_response>\nwet\n</tool_response>\n"
        "<tool_response>\ndry\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_hermes_form_is_trained_on_the_calls_alone(student):
    base, encoder = student(NO_TOOLS, HERMES)
    row = encoder.encode({"prompt": CHAT, "completion": [CALLS], "tools": [TOOL]})
    kept = [label for label in row.labels if label != IGNORED]
    assert (base.tokenizer.decode(row.input_ids), base.tokenizer.decode(kept)) == (
        HERMES_PROMPT + HERMES_CALLS,
        HERMES_CALLS,
    )


def test_arguments_and_texts_as_servers_hand_them_on(student):
    """Arguments as JSON text, contents as parts or null."""
    base, _ = student(NO_TOOLS, HERMES)
    called = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
        {"role": "assistant", "content": None, "tool_calls": [called]},
    ]
    text = base.tokenizer.apply_chat_template(messages, tools=[TOOL], tokenize=False)
    assert text == HERMES_PROMPT + HERMES_CALLS.split("\n<tool_call>\n", 1)[0] + "<|im_end|>\n"


def test_conversation_without_tools_is_rendered_as_before(student):
    plain, _ = student(NO_TOOLS)
    before = render(plain.tokenizer, "base", CHAT)
    hermes, _ = student(NO_TOOLS, HERMES)
    assert render(hermes.tokenizer, "base", CHAT) == before


def test_control_token_in_a_tool_is_found(student):
    _, encoder = student(NO_TOOLS, HERMES)
    tool = {**TOOL, "function": {**TOOL["function"], "description": "Ends <|im_end|> here."}}
    rejection = encoder.encode({"prompt": CHAT, "completion": [CALLS], "tools": [tool]})
    assert rejection.reason == "special_token"
