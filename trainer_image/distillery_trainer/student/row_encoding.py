"""Training rows as token ids, with the loss on the answer only.

A row is one sequence, and the model learns the part after the prompt. This requires that the ids of the prompt are the
beginning of the ids of the row, and that the row ends with a token that ends a turn; otherwise the student would be
trained on something other than what it sees when it is served. Such rows are rejected, and so are rows that are too
long: no row is truncated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.rows import Message, Rejection
from distillery_trainer.data.tool_messages import text_of, with_tools
from distillery_trainer.student.chat_template import continued, control_texts, render
from distillery_trainer.student.model_folder import ModelFolder, last_token_with_text

IGNORED = -100
"""The label of a token that the loss ignores."""
WEIGHT = "weight"
"""Column of an encoded row: what the loss of a token counts."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One sequence: the prompt and the answer."""

    input_ids: list[int]
    labels: list[int]
    """The ids of the answer, and IGNORED for each token of the prompt."""
    columns: Mapping[str, list[Any]] = field(default_factory=dict)
    """What an objective needs beside them: by name, a value for each token of the answer, in order. All rows of a
    training have the same columns."""
    siblings: tuple[EncodedRow, ...] = ()
    """Further sequences that are learned together with this one, such as other answers of the teacher's."""
    id: str = ""
    """The row's id."""
    pictures: tuple[str, ...] = ()
    """Names of the prompt's pictures, in the order of their tokens."""

    @property
    def answer_length(self) -> int:
        """Tokens of the answer."""
        return len(self.labels) - self.labels.count(IGNORED)

    def with_siblings(self, *more: EncodedRow) -> EncodedRow:
        """The same sequence with further ones beside it."""
        return replace(self, siblings=(*self.siblings, *more))

    def weighted(self, weight: float) -> EncodedRow:
        """The same sequence, each token of whose answer counts `weight` in the loss."""
        return replace(self, columns={**self.columns, WEIGHT: [weight] * self.answer_length})


class RowEncoder:
    """Encodes rows as token ids with a model's chat template."""

    def __init__(self, base: ModelFolder, max_length: int) -> None:
        self._base = base
        self._tokenizer = base.tokenizer
        self._limit = min(max_length, base.positions or max_length)
        self._special = re.compile("|".join(map(re.escape, control_texts(base.tokenizer))) or "(?!)")

    @property
    def base(self) -> ModelFolder:
        """The model that rows are encoded for."""
        return self._base

    def encode(self, row: Mapping[str, Any]) -> EncodedRow | Rejection:
        """A row `{"prompt": messages, "completion": messages}`, with `tools` where any may be called, as ids; or why it
        is untrainable."""
        prompt_messages = with_tools(row["prompt"], row.get("tools"))
        if found := self._special.search(" ".join(map(text_of, prompt_messages + row["completion"]))):
            return Rejection(
                RejectionReason.SPECIAL_TOKEN, f"The text contains the student's control token {found[0]}."
            )
        prompt, whole = self._prompt_and_whole(prompt_messages, row["completion"])
        labels = [IGNORED] * len(prompt) + whole[len(prompt) :]
        names = tuple(pictures_of(prompt_messages))
        return self._rejection(prompt, whole) or EncodedRow(whole, labels, id=str(row.get("id", "")), pictures=names)

    def _prompt_and_whole(self, prompt: list[Message], completion: list[Message]) -> tuple[list[int], list[int]]:
        prompt_text = _prompt_text(self._base, prompt)
        rendered = render(self._tokenizer, self._base.uri, prompt + completion)
        whole_text = continued(prompt_text, rendered) or rendered
        beginning = _ids_of_prompt(self._base, prompt_text, prompt)
        if pictures_of(prompt):
            # Their tokens are the prompt's alone, and take a look at each picture to count.
            answer = whole_text.removeprefix(prompt_text) if whole_text.startswith(prompt_text) else ""
            return beginning, beginning + _ids(self._tokenizer, answer)
        whole = _ids(self._tokenizer, whole_text)
        if whole_text.startswith(prompt_text) and whole[: len(beginning)] != beginning:
            # Read as one text, the prompt's last token may join the answer's first; a server knows the prompt only.
            whole = beginning + _ids(self._tokenizer, whole_text.removeprefix(prompt_text))
        return beginning, whole

    def _rejection(self, prompt: list[int], whole: list[int]) -> Rejection | None:
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            return Rejection(
                RejectionReason.PROMPT_NOT_A_PREFIX, "The chat template writes the prompt differently before an answer."
            )
        if last_token_with_text(self._tokenizer, whole) not in self._base.end_of_turn:
            return Rejection(
                RejectionReason.NO_END_OF_TURN, "The chat template does not end the answer with an end-of-turn token."
            )
        if len(whole) > self._limit:
            allows = f"{'the student' if self._limit == self._base.positions else 'training.maxLength'} allows"
            return Rejection(RejectionReason.TOO_LONG, f"The row has {len(whole):,} tokens; {allows} {self._limit:,}.")
        return None


def prompt_ids(base: ModelFolder, messages: list[Message]) -> list[int]:
    """The ids that a server feeds to the model for a chat: the messages and the beginning of the answer's turn.

    Raises InvalidModel if the chat template rejects the messages.
    """
    return _ids_of_prompt(base, _prompt_text(base, messages), messages)


def _ids_of_prompt(base: ModelFolder, text: str, messages: list[Message]) -> list[int]:
    """The ids of a rendered chat, in which each of its pictures has its tokens."""
    if names := pictures_of(messages):
        return base.picture_processor.ids(text, base.opened(names))
    return _ids(base.tokenizer, text)


def _prompt_text(base: ModelFolder, messages: list[Message]) -> str:
    return render(base.tokenizer, base.uri, messages, add_generation_prompt=True)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
