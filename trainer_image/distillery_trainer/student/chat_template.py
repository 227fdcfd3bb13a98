"""The one rendering: a conversation becomes the same tokens in training, in evaluation and in any server.

Families' chat templates depend on who calls them: a server may let the model reason and training may not, some state
today's date, some refuse a system message. A prelude before the family's own template decides all of it, and is saved
with the student, so that every program that applies the saved template renders what the student was trained on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from distillery_api.run_config import RunConfig
from distillery_api.runtime.picture_parts import in_parts
from distillery_api.spec import ToolFormat
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_messages import tools_of, without_tools
from distillery_trainer.student.hermes_tools import HERMES_TOOLS
from distillery_trainer.student.invalid_model import InvalidModel, first_line

_BEGINNING = "{#- distillery: how every conversation is rendered #}\n"
# Templates are rendered with `trim_blocks`, so the line break after a comment is not part of the text.
_END = "{#- distillery: the family's own template follows #}\n"
_POSTLUDE = "{#- distillery: what always stands before an answer #}\n"
_THINKING_SWITCHES = ("enable_thinking", "thinking")
_DATE_FUNCTION = "strftime_now"
_DATE_DIRECTIVES = re.compile(r"(?<!\{)%-?[aAbBdeFHIjmMpSyY]")
_PROBE: tuple[Message, Message] = (
    {"role": "system", "content": "Distillery asks whether this text is rendered."},
    {"role": "user", "content": "A"},
)
_EMPTY_BLOCK = re.compile(r"(<think>|\[THINK\]|<\|channel>thought)\s*(</think>|\[/THINK\]|<channel\|>)\s*\Z")
_ANSWER = "B"
_PLAIN_ANSWERS = ("Distillery asks where an answer stands.", "Here?")
_REASONING = "Distillery asks whether this reasoning is rendered."
_REASONED_ANSWER = f"<think>\n{_REASONING}\n</think>\n\n{_ANSWER}"
_FOLD_SYSTEM_MESSAGE = """\
{%- macro distillery_text(parts) %}
{%- if parts is string %}{{- parts }}{%- else %}{%- for part in parts %}{{- part['text'] }}{%- endfor %}{%- endif %}
{%- endmacro %}
{%- if messages and messages[0]['role'] == 'system' %}
{%- set distillery_system = distillery_text(messages[0]['content']) %}
{%- set distillery_turns = messages[1:] %}
{%- if distillery_turns and distillery_turns[0]['role'] == 'user' %}
{%- set distillery_system = distillery_system + '\\n\\n' + distillery_text(distillery_turns[0]['content']) %}
{%- set distillery_turns = distillery_turns[1:] %}
{%- endif %}
{%- set messages = [{'role': 'user', 'content': distillery_system}] + distillery_turns %}
{%- endif %}
"""


@dataclass(frozen=True)
class Rendering:
    """What the prelude decides, whatever a program that applies the template says."""

    thinking: bool
    """Whether a template that can let the model reason before it answers does so."""
    today: date
    """The date that a template states as today's."""
    hermes_tools: bool = False
    """Whether tools are written in the Hermes form instead of the family's own."""

    @classmethod
    def of(cls, config: RunConfig, today: date) -> Self:
        """The rendering of a run's student."""
        hermes_tools = config.student.tool_format is ToolFormat.HERMES
        return cls(config.generation.keep_reasoning, today, hermes_tools)

    def template(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The prelude, where one is needed, and the family's own template. A prelude that is there already is
        replaced."""
        family = str(tokenizer.chat_template).rpartition(_END)[2].partition(_POSTLUDE)[0]
        decided = (HERMES_TOOLS if self.hermes_tools else "") + self._switches(family) + self._date(family)
        plain, folded = (_with_prelude(prelude, family) for prelude in (decided, decided + _FOLD_SYSTEM_MESSAGE))
        folds = not self._suits_training(tokenizer, plain) and self._suits_training(tokenizer, folded)
        return _with_opening(tokenizer, folded if folds else plain)

    def _suits_training(self, tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
        """Whether a template renders a system message, and the prompt alike with and without an answer. Some families
        refuse system messages or drop them in silence; others move them into the last message of the user, and only if
        that is the last of all."""
        system, user = _PROBE
        answer: Message = {"role": "assistant", "content": _REASONED_ANSWER if self.thinking else _ANSWER}
        try:
            prompt = tokenizer.apply_chat_template(
                [system, user], chat_template=template, add_generation_prompt=True, tokenize=False
            )
            whole = tokenizer.apply_chat_template([system, user, answer], chat_template=template, tokenize=False)
        except Exception:  # noqa: BLE001 - a template is a program of the model's folder, and raises what it likes
            return False
        keeps_reasoning = not self.thinking or _REASONING in whole
        return system["content"] in prompt and keeps_reasoning and continued(prompt, whole) is not None

    def _switches(self, family: str) -> str:
        switches = [name for name in _THINKING_SWITCHES if re.search(rf"\b{name}\b", family)]
        return "".join(f"{{%- set {name} = {str(self.thinking).lower()} %}}\n" for name in switches)

    def _date(self, family: str) -> str:
        """A function of the name that templates call for today's date. It knows the directives that they use."""
        if _DATE_FUNCTION not in family:
            return ""
        moment = datetime.combine(self.today, time())
        directives = sorted(set(_DATE_DIRECTIVES.findall(family)))
        values = "".join(f" | replace('{directive}', '{moment.strftime(directive)}')" for directive in directives)
        return f"{{%- macro {_DATE_FUNCTION}(format) %}}{{{{- format{values} }}}}{{%- endmacro %}}\n"


def _with_prelude(prelude: str, family: str) -> str:
    return _BEGINNING + prelude + _END + family if prelude else family


def _with_opening(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """The template, with prompts that also have what it always writes before an answer, up to a control token: gpt-oss
    names the channel. An answer is then read from its first token on, and a model writes it to no other channel."""
    openings = {_opening(tokenizer, template, answer) for answer in _PLAIN_ANSWERS}
    opening = openings.pop()
    if openings or not opening.endswith(tuple(control_texts(tokenizer)) or "\0"):
        return template
    statement = f"{{%- if add_generation_prompt %}}{{{{- {json.dumps(opening)} }}}}{{%- endif %}}"
    return (template if _END in template else _BEGINNING + _END + template) + _POSTLUDE + statement


def _opening(tokenizer: PreTrainedTokenizerBase, template: str, text: str) -> str:
    """What a template writes between a prompt and this answer."""
    answer: Message = {"role": "assistant", "content": text}
    try:
        prompt = tokenizer.apply_chat_template(
            [_PROBE[1]], chat_template=template, add_generation_prompt=True, tokenize=False
        )
        whole = tokenizer.apply_chat_template([_PROBE[1], answer], chat_template=template, tokenize=False)
    except Exception:  # noqa: BLE001 - as above
        return ""
    return whole.removeprefix(prompt).partition(text)[0] if whole.startswith(prompt) else ""


def control_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts that the tokenizer always turns into control tokens, longest first."""
    added = tokenizer.added_tokens_decoder.values()
    return sorted((token.content for token in added if token.special and token.content), key=len, reverse=True)


def continued(prompt: str, whole: str) -> str | None:
    """A rendered prompt and what follows it in `whole`, the rendered prompt with its answer.

    None if the template writes the prompt differently before an answer. An empty think block at the end of the prompt
    may be missing before a given answer, as in Gemma 4: a server's prompt has it, so it belongs to the row.
    """
    if whole.startswith(prompt):
        return whole
    block = _EMPTY_BLOCK.search(prompt)
    missing = block and whole.startswith(prompt[: block.start()]) and not whole.startswith(block[1], block.start())
    return prompt + whole[block.start() :] if block and missing else None


def render(tokenizer: PreTrainedTokenizerBase, uri: str, messages: list[Message], **options: Any) -> str:
    """The text of a conversation. Raises InvalidModel if the chat template rejects it."""
    try:
        tools = tools_of(messages) or None
        turns = [in_parts(message, lambda _: {"type": "image"}) for message in without_tools(messages)]
        return str(tokenizer.apply_chat_template(turns, tools=tools, tokenize=False, **options))
    except Exception as error:  # a template is a program of the model's folder, and raises what it likes
        roles = ", ".join(message["role"] for message in messages)
        problem = f"the chat template rejects a chat of {roles} ({first_line(error)})"
        raise InvalidModel(uri, f"{problem}; correct chat_template.jinja, or use another model.") from error
