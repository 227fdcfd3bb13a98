"""The loaded student, in the form that the handlers of the Transformers library's server expect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.utils import Modality

from distillery_api.runtime.baked_prompt import NoTemplate, baked_template, read_prompt
from distillery_trainer.serving.pictures import PromptReader, has_pictures, with_opened_pictures
from distillery_trainer.serving.request_body import RefusedRequest
from distillery_trainer.student.device import Device
from distillery_trainer.student.invalid_model import InvalidModel
from distillery_trainer.student.model_folder import ModelFolder, open_folder

DEFAULT_MAX_TOKENS = 1024
"""Maximum length of a reply to a request that states none."""
MAX_TOKENS = 32_768
"""Maximum length of any reply of a model that does not say how long its context is."""
_READS_TOOLS = re.compile(r"\btools\b")
"""What stands in a chat template that writes tools."""


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that clients know it by. It stands in for the library's model manager, which would load
    any model that a request names."""

    force_model: str
    folder: ModelFolder
    model: PreTrainedModel
    names: tuple[str, ...]
    """All names that requests may use."""

    @classmethod
    def load(
        cls, path: Path, names: tuple[str, ...], precision: str, device: Device, student_prompt: Path | None = None
    ) -> ServedModel:
        """The student in a folder under `names`, computing in `precision`: bfloat16, float16, float32, or auto for the
        device's own. The text in the file `student_prompt` is the system message of requests that have none. Raises
        InvalidModel."""
        folder = open_folder(path, str(path))
        dtype = device.dtype if precision == "auto" else getattr(torch, precision)
        model = folder.load(dtype, device.kind).eval()
        # Greedy, and at an end as in the evaluation, whatever the folder says.
        model.generation_config.update(do_sample=False, eos_token_id=list(folder.end_of_turn))
        if student_prompt is not None:
            _bake(folder, student_prompt)
        return cls(names[0], folder, model, names)

    def process_model_name(self, name: str) -> str:
        """The name under which a model is loaded: a request can name only this one."""
        return name

    def load_model_and_processor(
        self, name: str, gguf_file: str | None = None
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | PromptReader]:
        """The model, and what reads its prompts."""
        return self.model, self._reader

    @property
    def _reader(self) -> PreTrainedTokenizerBase | PromptReader:
        return PromptReader(self.folder) if self.folder.reads_pictures else self.folder.tokenizer

    def get_model_modality(self, model: PreTrainedModel, processor: Any = None) -> Modality:
        """What the model reads: text, or pictures as well."""
        return Modality.VLM if self.folder.reads_pictures else Modality.LLM

    def fitted(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with a maximum length that its prompt leaves room for. Raises RefusedRequest if the chat template
        refuses the messages, if there is no room, or if there are pictures that the student cannot read."""
        if has_pictures(body.get("messages", [])):
            if not self.folder.reads_pictures:
                raise RefusedRequest("messages: the student reads no pictures; remove them")
            body = body | {"messages": with_opened_pictures(body["messages"])}
        if body.get("tools") and not _READS_TOOLS.search(str(self.folder.tokenizer.chat_template)):
            raise RefusedRequest("tools: the student's chat template does not write them; remove them")
        limit = body["max_tokens"] or DEFAULT_MAX_TOKENS
        if self.folder.positions is None:
            return body | {"max_tokens": min(limit, MAX_TOKENS)}
        room = self.folder.positions - self._prompt_length(body)
        if room < 1:
            raise RefusedRequest(
                f"the prompt is longer than the model's {self.folder.positions:,} tokens less one for the answer;"
                " shorten it"
            )
        return body | {"max_tokens": min(limit, room)}

    def _prompt_length(self, body: dict[str, Any]) -> int:
        tokenizer = self.folder.tokenizer
        if "prompt" in body:
            return len(tokenizer(body["prompt"])["input_ids"])
        try:
            if self.folder.reads_pictures:
                messages = ChatCompletionHandler.get_processor_inputs_from_messages(body["messages"], Modality.VLM)
                found = PromptReader(self.folder).apply_chat_template(messages, tools=body.get("tools"))
                return int(found["input_ids"].shape[1])
            rendered = tokenizer.apply_chat_template(
                body["messages"], tools=body.get("tools"), add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # a template raises whatever it likes
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RefusedRequest(f"messages: the student's chat template refuses them: {reason}") from error
        return len(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def _bake(folder: ModelFolder, student_prompt: Path) -> None:
    try:
        prompt = read_prompt(student_prompt)
    except NoTemplate as error:
        raise InvalidModel(folder.uri, f"{error}.") from error
    folder.tokenizer.chat_template = baked_template(str(folder.tokenizer.chat_template), prompt)
