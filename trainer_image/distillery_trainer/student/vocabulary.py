"""The student's tokens by their bytes: which of them a teacher's token is, and whether both divide texts alike.

Byte-level vocabularies (GPT-2, Llama 3, Qwen, SmolLM) spell each byte as a character of its own; those of SentencePiece
(Llama 2, Gemma, Mistral 0.1) write a blank as U+2581, and a byte that is no text as <0xE2>.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from distillery_trainer.chat.token_logprobs import Token, text_bytes

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BLANK = "\u2581"
LEAST_KNOWN = 0.99
"""Share of a teacher's tokens that have to be the student's: a few are padding, or were added to one of them."""
_LEAST_ALIKE = 0.9
"""Share of a text's tokens that both have to divide alike. What a model writes is not always divided as its tokenizer
would do it."""
_UNDECODED = "\ufffd"


def _spelling_of_bytes() -> dict[str, int]:
    """The character for each byte in a byte-level vocabulary: its own where that is visible, else one from U+0100 on
    (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2, and the code of GPT-2)."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return {**{chr(byte): byte for byte in visible}, **{chr(256 + number): byte for number, byte in enumerate(hidden)}}


class Vocabulary:
    """The tokens of a student's tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._spelling = _spelling_of_bytes()
        self._added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}

    @cached_property
    def _bytes(self) -> list[bytes]:
        spelled = self._tokenizer.convert_ids_to_tokens(list(range(len(self._tokenizer))))
        is_byte_level = not any(_BLANK in each for each in spelled if each)
        return [self._bytes_of(number, each or "", is_byte_level) for number, each in enumerate(spelled)]

    def _bytes_of(self, number: int, spelled: str, is_byte_level: bool) -> bytes:
        if number in self._added:
            return str(self._added[number]).encode()
        if is_byte_level and all(character in self._spelling for character in spelled):
            return bytes(self._spelling[character] for character in spelled)
        if found := _BYTE.fullmatch(spelled):
            return bytes([int(found[1], 16)])
        return spelled.replace(_BLANK, " ").encode()

    @cached_property
    def _ids(self) -> Mapping[bytes, int | None]:
        ids: dict[bytes, int | None] = {}
        for number, content in enumerate(self._bytes):
            ids[content] = None if content in ids else number
        return ids

    def bytes_of(self, number: int) -> bytes:
        """The bytes of a token; none of one that the student does not have."""
        return self._bytes[number] if 0 <= number < len(self._bytes) else b""

    def content(self, text: str, token: Token) -> bytes:
        """The bytes of a teacher's token: by its id where that is stated, else by its text."""
        return self.bytes_of(token) if isinstance(token, int) else text_bytes(text)

    def id_of(self, token: Token) -> int | None:
        """The student's id of a teacher's token; None where it has no such token, or several."""
        if isinstance(token, int):
            return token if 0 <= token < len(self._bytes) else None
        return self.id_of_bytes(text_bytes(token))

    def id_of_bytes(self, content: bytes) -> int | None:
        """The id of the only token that has these bytes; None where there is none, or several."""
        return self._ids.get(content)

    def problem(self, written: Sequence[Sequence[Any]], given: Sequence[Sequence[Any]]) -> str | None:
        """Why a teacher of these tokens has another vocabulary, as a sentence without its end; None where it has the
        same. `written` are the positions of a reply, `given` those of a text that the teacher's tokenizer divided, each
        `[text, tokens]` with the token that stands there first."""
        return self._unknown(written, given) or self._divided(given or written)

    def _unknown(self, *texts: Sequence[Sequence[Any]]) -> str | None:
        seen = {token: None for text in texts for _, tokens in text for token in tokens}
        strange = [repr(token) for token in seen if self.id_of(token) is None and _UNDECODED not in str(token)]
        stated = {tokens[0]: text for each in texts for text, tokens in each if isinstance(tokens[0], int)}
        strange += [f"{text!r} (id {token})" for token, text in stated.items() if not self._is(token, text)]
        if len(strange) <= (1 - LEAST_KNOWN) * len(seen):
            return None
        return f"{len(strange):,} of {len(seen):,} of its tokens, such as {strange[0]}, are not the student's"

    def _is(self, number: int, text: str) -> bool:
        """Whether a token of this id has this text. The parts of a character have none, and some servers lose the blank
        before a word."""
        return _UNDECODED in text or self.bytes_of(number).strip() == text_bytes(text).strip()

    def _divided(self, text: Sequence[Sequence[Any]]) -> str | None:
        contents = [self.content(each, tokens[0]) for each, tokens in text]
        whole, theirs = b"".join(contents).decode("utf-8", "replace"), ends(contents)
        # Some tokenizers write a blank before a text by themselves.
        ours = max((self._ends(whole), self._ends(whole.lstrip(" "))), key=lambda found: len(found & theirs))
        if len(theirs & ours) >= _LEAST_ALIKE * max(len(theirs), len(ours)):
            return None
        return f"it divides a text into {len(theirs):,} tokens, of which the student's tokenizer makes {len(ours):,}"

    def _ends(self, text: str) -> set[int]:
        return ends(map(self.bytes_of, self._tokenizer(text, add_special_tokens=False)["input_ids"]))


def ends(tokens: Iterable[bytes]) -> set[int]:
    """Where tokens that follow each other end, in bytes from the beginning of the first."""
    found, offset = set(), 0
    for token in tokens:
        offset += len(token)
        found.add(offset)
    return found


def other_vocabulary(student: str, teacher: str, problem: str) -> str:
    """What is wrong with a student of another vocabulary than its teacher's, and what to do."""
    return (
        f"training.objective.kind Logits needs a student with the vocabulary of its teacher; {student} has another one"
        f" than teacher {teacher}: {problem}. Use a student of the teacher's family, or set the kind to Labels."
    )
