"""Pictures in requests: decoded within the limits of rows, and encoded as in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchEncoding

from distillery_trainer.data.picture_files import InvalidPicture, decoded, opened_picture
from distillery_trainer.data.pictures import MOST_PICTURES
from distillery_trainer.serving.request_body import RefusedRequest
from distillery_trainer.student.model_folder import ModelFolder

if TYPE_CHECKING:
    from PIL.Image import Image

Chat = list[dict[str, Any]]


def has_pictures(messages: Chat) -> bool:
    """Whether any message of a checked request has pictures."""
    return _count(messages) > 0


def with_opened_pictures(messages: Chat) -> Chat:
    """The messages with each picture in place of its data URL. Raises RefusedRequest."""
    if (count := _count(messages)) > MOST_PICTURES:
        raise RefusedRequest(f"messages: {count} pictures; at most {MOST_PICTURES} are supported")
    return [
        {**message, "content": [_opened(part) for part in _parts(message)]} if _parts(message) else message
        for message in messages
    ]


def _count(messages: Chat) -> int:
    return sum(part["type"] == "image_url" for message in messages for part in _parts(message))


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []


def _opened(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image_url":
        return part
    try:
        picture = opened_picture(decoded(part["image_url"]["url"]))
    except InvalidPicture as error:
        raise RefusedRequest(f"messages: a picture {error}") from None
    return {"type": "image_url", "image_url": {"url": picture}}


class PromptReader:
    """A tokenizer whose prompts may have pictures: what the library's handlers call a processor."""

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self.tokenizer = folder.tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """The tokens of a text."""
        return self.tokenizer(*arguments, **options)

    def apply_chat_template(self, messages: Chat, tools: Any = None, **_: Any) -> BatchEncoding:
        """The prompt of a chat as the student was trained on it: its ids, of shape (1, tokens), and what the model
        needs for its pictures."""
        pictures: list[Image] = [
            part["url"] for message in messages for part in _parts(message) if part["type"] == "image"
        ]
        text = self.tokenizer.apply_chat_template(
            [_in_training_form(message) for message in messages],
            tools=tools,
            add_generation_prompt=True,
            tokenize=False,
        )
        if not pictures:
            ids = torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]])
            return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        processor = self._folder.picture_processor
        ids = torch.tensor([processor.ids(text, pictures)])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **processor.inputs(ids, pictures)}
        return BatchEncoding(inputs)


def _in_training_form(message: dict[str, Any]) -> dict[str, Any]:
    """A message without pictures has a text as its content, and no list of parts."""
    parts = _parts(message)
    if any(part["type"] == "image" for part in parts):
        return {**message, "content": [{"type": "image"} if part["type"] == "image" else part for part in parts]}
    return {**message, "content": "".join(part["text"] for part in parts)}
