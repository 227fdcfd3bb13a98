"""One rendering: a conversation is the same text and the same tokens in training, in evaluation and in a server."""

import shutil
from datetime import date

import pytest

from chat_templates import ALWAYS_THINKS, CHAT_TEMPLATES
from distillery_trainer.data.rows import Rejection
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import IGNORED, RowEncoder, prompt_ids
from tiny_model import read_tokenizer, write_tiny_model

DAY = date(2026, 11, 9)
PLAIN = Rendering(thinking=False, today=DAY)
THINKING = Rendering(thinking=True, today=DAY)
PROMPT = [{"role": "system", "content": "Say a label."}, {"role": "user", "content": "A cat sits."}]
DIALOGUE = [*PROMPT, {"role": "assistant", "content": "neutral"}, {"role": "user", "content": "And a dog?"}]
ANSWER = [{"role": "assistant", "content": "entailment"}]
SERVER_ARGUMENTS = ({}, {"enable_thinking": True}, {"enable_thinking": False}, {"thinking": True, "reasoning": True})

SYSTEM_AND_USER = "<|im_start|>system\nSay a label.<|im_end|>\n<|im_start|>user\nA cat sits.<|im_end|>\n"
PROMPT_TEXTS = {
    "default system message": SYSTEM_AND_USER + "<|im_start|>assistant\n",
    "states the date": "<|im_start|>Today Date: 09 Nov 2026\n" + SYSTEM_AND_USER + "<|im_start|>assistant\n",
    "states the date in a macro": "Today is November 09, 2026.\n" + SYSTEM_AND_USER + "<|im_start|>assistant\n",
    "may think": SYSTEM_AND_USER + "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "thinks by default": SYSTEM_AND_USER + "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "names its mode": "<|im_start|>system\nToday: 9 November 2026, /no_think\nSay a label.<|im_end|>\n"
    "<|im_start|>user\nA cat sits.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
    "empty block in the prompt only": SYSTEM_AND_USER + "<|im_start|>assistant\n<think>\n\n</think>\n",
    "thinking": SYSTEM_AND_USER + "<|im_start|>assistant\n</think>",
    "refuses system messages": "<|im_start|><repo_name>user\nSay a label.\n\nA cat sits.<|im_end|>\n<repo_name>model\n",
    "wants roles to alternate": "<|im_start|>[INST] Say a label.\n\nA cat sits. [/INST]",
    "moves system messages": "<|im_start|>[INST] Say a label.\n\nA cat sits.[/INST]",
    "drops system messages": "<|im_start|>user\nSay a label.\n\nA cat sits.<|im_end|>\n<|im_start|>assistant\n",
    "folds system messages": "<|im_start|><repo_name>user\nSay a label.\n\nA cat sits.<|im_end|>\n<repo_name>model\n",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def student(tiny, tmp_path):
    """Makes the base model's folder with a template, and the student's as the train stage saves it."""

    def make(template, rendering=PLAIN):
        folder = shutil.copytree(tiny, tmp_path / "base", dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        base = open_folder(folder, "base", rendering.template)
        saved = shutil.copytree(tiny, tmp_path / "student", dirs_exist_ok=True)
        base.tokenizer.save_pretrained(saved)
        return base, saved

    return make


def test_there_is_a_text_for_every_template():
    assert PROMPT_TEXTS.keys() == CHAT_TEMPLATES.keys()


@pytest.mark.parametrize("family", CHAT_TEMPLATES)
def test_training_evaluation_and_servers_see_one_prompt(student, family):
    base, saved = student(CHAT_TEMPLATES[family])
    row = RowEncoder(base, 256).encode({"prompt": PROMPT, "completion": ANSWER})
    assert not isinstance(row, Rejection), row
    trained = row.input_ids[: row.labels.count(IGNORED)]

    assert base.tokenizer.decode(trained) == PROMPT_TEXTS[family]
    assert prompt_ids(open_folder(saved, "saved"), PROMPT) == trained
    server = read_tokenizer(saved)
    for arguments in SERVER_ARGUMENTS:
        ids = server.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=False, **arguments)
        assert ids == trained, arguments


@pytest.mark.parametrize("family", CHAT_TEMPLATES)
def test_answer_alone_is_learnt_and_ends_the_turn(student, family):
    base, _ = student(CHAT_TEMPLATES[family])
    row = RowEncoder(base, 256).encode({"prompt": PROMPT, "completion": ANSWER})
    learnt = base.tokenizer.decode([label for label in row.labels if label != IGNORED])
    assert learnt.strip() == "entailment<|im_end|>"


@pytest.mark.parametrize("family", CHAT_TEMPLATES)
def test_dialogue_is_rendered_alike_everywhere(student, family):
    base, saved = student(CHAT_TEMPLATES[family])
    row = RowEncoder(base, 256).encode({"prompt": DIALOGUE, "completion": ANSWER})
    trained = row.input_ids[: row.labels.count(IGNORED)]
    text = base.tokenizer.decode(trained)
    assert [text.count(part) for part in ("Say a label.", "A cat sits.", "neutral", "And a dog?")] == [1, 1, 1, 1]
    assert text.count("<|im_start|><|im_start|>") == 0
    ids = read_tokenizer(saved).apply_chat_template(DIALOGUE, add_generation_prompt=True, return_dict=False)
    assert ids == trained == prompt_ids(open_folder(saved, "saved"), DIALOGUE)


@pytest.mark.parametrize("family", CHAT_TEMPLATES)
def test_student_of_a_student_has_one_prelude_with_the_later_choices(student, tiny, tmp_path, family):
    _, saved = student(CHAT_TEMPLATES[family], Rendering(thinking=True, today=date(2020, 1, 1)))
    again = open_folder(saved, "saved", PLAIN.template).tokenizer.chat_template
    assert again == student(CHAT_TEMPLATES[family])[0].tokenizer.chat_template
    assert again.count("distillery: how every conversation is rendered") <= 1


REASONED = [{"role": "assistant", "content": "<think>\nCats sit.\n</think>\n\nentailment"}]


@pytest.mark.parametrize(
    ("family", "opening", "learnt"),
    [
        ("default system message", "", "<think>\nCats sit.\n</think>\n\nentailment<|im_end|>\n"),
        ("may think", "", "<think>\nCats sit.\n</think>\n\nentailment<|im_end|>\n"),
        ("thinks by default", "<think>\n", "Cats sit.\n</think>\n\nentailment<|im_end|>\n"),
        ("names its mode", "", "<think>\nCats sit.\n</think>\n\nentailment<|im_end|>\n"),
    ],
)
def test_kept_reasoning_is_learnt_where_a_server_lets_the_model_reason(student, family, opening, learnt):
    base, saved = student(CHAT_TEMPLATES[family], THINKING)
    row = RowEncoder(base, 256).encode({"prompt": PROMPT, "completion": REASONED})
    assert not isinstance(row, Rejection), row
    trained = row.input_ids[: row.labels.count(IGNORED)]
    assert base.tokenizer.decode(trained).endswith(f"<|im_start|>assistant\n{opening}")
    assert base.tokenizer.decode([label for label in row.labels if label != IGNORED]) == learnt
    server = read_tokenizer(saved)
    for arguments in SERVER_ARGUMENTS:
        assert server.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=False, **arguments) == trained


@pytest.mark.parametrize("answer", ["end", "im", "assistant", "think", "B", "a cat", "<", "user\nA cat sits.", "1"])
def test_answer_that_resembles_the_template_is_learnt_once(student, answer):
    base, _ = student(CHAT_TEMPLATES["empty block in the prompt only"])
    row = RowEncoder(base, 256).encode({"prompt": PROMPT, "completion": [{"role": "assistant", "content": answer}]})
    assert base.tokenizer.decode([label for label in row.labels if label != IGNORED]) == f"{answer}<|im_end|>\n"
    trained = base.tokenizer.decode(row.input_ids[: row.labels.count(IGNORED)])
    assert trained == PROMPT_TEXTS["empty block in the prompt only"]


def test_template_that_always_thinks_makes_untrainable_rows(student):
    base, _ = student(ALWAYS_THINKS)
    rejection = RowEncoder(base, 256).encode({"prompt": PROMPT, "completion": ANSWER})
    assert rejection.reason == "prompt_not_a_prefix"


def test_request_without_a_system_message_gets_that_of_the_family(student):
    _, saved = student(CHAT_TEMPLATES["default system message"])
    text = read_tokenizer(saved).apply_chat_template(PROMPT[1:], tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nI am Tiny.<|im_end|>\n<|im_start|>user\nA cat sits.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_content_in_parts_is_folded_as_text(student):
    _, saved = student(CHAT_TEMPLATES["refuses system messages"])
    parts = [{"role": message["role"], "content": [{"type": "text", "text": message["content"]}]} for message in PROMPT]
    text = read_tokenizer(saved).apply_chat_template(parts, tokenize=False, add_generation_prompt=True)
    assert text == PROMPT_TEXTS["refuses system messages"]


def test_system_message_alone_becomes_the_users(student):
    _, saved = student(CHAT_TEMPLATES["wants roles to alternate"])
    assert read_tokenizer(saved).apply_chat_template(PROMPT[:1], tokenize=False) == (
        "<|im_start|>[INST] Say a label. [/INST]"
    )


def test_template_that_needs_nothing_stays_as_it_is(student):
    base, _ = student(CHAT_TEMPLATES["default system message"])
    assert base.tokenizer.chat_template == CHAT_TEMPLATES["default system message"]


def test_white_space_at_the_start_of_a_template_is_kept(student):
    template = "\n  {{ '' }}" + CHAT_TEMPLATES["may think"].replace("{%- for m", "{% for m", 1)
    base, _ = student(template)
    text = base.tokenizer.apply_chat_template(PROMPT, tokenize=False, add_generation_prompt=True)
    assert text == "\n  " + PROMPT_TEXTS["may think"]


def test_default_of_several_templates_is_the_students_only_one(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "several")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ 'tools' }}")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATES["may think"])
    base = open_folder(folder, "base", PLAIN.template)
    text = base.tokenizer.apply_chat_template(PROMPT, tools=[{}], tokenize=False, add_generation_prompt=True)
    assert text == PROMPT_TEXTS["may think"]


def test_template_that_fails_is_an_invalid_model(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "failing")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content + 1 }}")
    with pytest.raises(InvalidModel, match="the chat template rejects a chat of user, assistant"):
        open_folder(folder, "failing", PLAIN.template)
