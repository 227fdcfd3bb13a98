"""Batched generation: a model answers many prompts at a time, with greedy decoding.

The library's own `generate` runs every row of a batch until its last row ends, processes the common beginning of the
prompts once per row, and copies the whole cache for every generated token. Here a row leaves the batch when it ends, a
common beginning is processed once per batch, and the cache is allocated in advance. For long replies, and for short
replies among a few that never end, this is several times faster. Where an answer would not be the one that the model
gives to a prompt alone, the library's `generate` answers, for prompts of one length at a time.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from distillery_api.run_config import GENERATION_BATCH_ROWS
from distillery_trainer.evaluation.exact_batches import exact_up_to
from distillery_trainer.evaluation.library_generation import most_likely_tokens
from distillery_trainer.student.device import Device, is_out_of_memory
from distillery_trainer.student.objectives.row_batches import PictureInputs, no_inputs

MIN_SHARED_TOKENS = 16
"""Minimum length of a common beginning of prompts that is processed once."""
_MEMORY_SHARE = 0.4
"""Maximum share of the free memory for the keys and values of a batch."""


class GenerationRequest(NamedTuple):
    """A prompt to answer."""

    prompt: list[int]
    """Token ids."""
    max_tokens: int
    """Maximum length of the reply, at least 1."""
    pictures: Sequence[str] = ()
    """Names of the prompt's pictures, in the order of their tokens."""


@dataclass(frozen=True, slots=True)
class GeneratedReply:
    """The reply to one prompt."""

    ids: list[int]
    """Token ids, without the token that ends the turn."""
    finished: bool
    """Whether the model ended its turn; else the reply was cut off at its maximum length."""


AnswerBatch = Callable[[Sequence[GenerationRequest]], Iterator[tuple[int, GeneratedReply]]]
"""Gives the position of each request of a batch, and its reply."""


@dataclass
class BatchedGenerator:
    """A loaded model with greedy decoding."""

    model: PreTrainedModel
    """In evaluation mode, on its device."""
    device: Device
    end_of_turn: Sequence[int]
    """Token ids that end a reply."""
    padding: int
    """Token id that pads shorter prompts; it is never attended to."""
    max_rows: int = field(default=GENERATION_BATCH_ROWS)
    """Maximum number of rows in a batch, if they fit into memory."""
    alive: Callable[[], object] = lambda: None
    """Called for every token that a batch generates."""
    picture_inputs: PictureInputs = no_inputs
    """What the model needs for the pictures of a batch."""
    _said_why: bool = False

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, GeneratedReply]]:
        """The index of each request and its reply, in the order in which the replies end.

        Raises torch.OutOfMemoryError if a single prompt does not fit into memory.
        """
        limit = exact_up_to(self.model)
        lengths = [len(request.prompt) + request.max_tokens for request in requests]
        in_order = sorted(range(len(requests)), key=lambda index: len(requests[index].prompt))
        texts = [index for index in in_order if not requests[index].pictures]
        exact = [index for index in texts if lengths[index] <= limit]
        yield from self._answer_all(requests, exact, self._generate_batch)
        others = [index for index in texts if lengths[index] > limit]
        if others:
            self._say_why(limit, len(others))
        # Where tokens of pictures stand, positions are the family's own to say.
        pictured = [index for index in in_order if requests[index].pictures]
        for _, alike in itertools.groupby([*others, *pictured], key=lambda index: len(requests[index].prompt)):
            yield from self._answer_all(requests, list(alike), self._generate_alike)

    def _answer_all(
        self, requests: Sequence[GenerationRequest], waiting: list[int], answer_batch: AnswerBatch
    ) -> Iterator[tuple[int, GeneratedReply]]:
        while waiting:
            longest = max(len(requests[index].prompt) + requests[index].max_tokens for index in waiting)
            batch = waiting[: self._rows_that_fit(longest)]
            try:
                for row, reply in answer_batch([requests[index] for index in batch]):
                    waiting.remove(batch[row])
                    yield batch[row], reply
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                self.max_rows = len(batch) // 2

    def _say_why(self, limit: int, rows: int) -> None:
        if self._said_why:
            return
        self._said_why = True
        why = f"texts beyond {limit:,} tokens have other positions" if limit else "its layers keep a state, not keys"
        sys.stderr.write(
            f"Only prompts of one length are answered at a time, for {rows:,} prompts: of this model, {why}.\n"
        )

    def _rows_that_fit(self, length: int) -> int:
        config = self.model.config.get_text_config()
        all_heads = getattr(config, "num_attention_heads", 1)
        heads = getattr(config, "num_key_value_heads", None) or all_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // all_heads
        row = 2 * config.num_hidden_layers * heads * width * self.device.dtype.itemsize * length
        return max(1, min(self.max_rows, int(_MEMORY_SHARE * self.device.free_memory() / row)))

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed for us
    def _generate_batch(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, GeneratedReply]]:
        rows = list(range(len(requests)))
        generated: list[list[int]] = [[] for _ in requests]
        state = _BatchState.start(
            self, [request.prompt for request in requests], max(request.max_tokens for request in requests)
        )
        while True:
            self.alive()
            tokens, continues = state.next_tokens(), []
            for row, token in zip(rows, tokens, strict=True):
                ended = token in self.end_of_turn
                if not ended:
                    generated[row].append(token)
                continues.append(not ended and len(generated[row]) < requests[row].max_tokens)
                if not continues[-1]:
                    yield row, GeneratedReply(generated[row], finished=ended)
            if not any(continues):
                return
            remaining = _compacted(continues)
            rows = [rows[position] for position in remaining]
            state.advance([tokens[position] for position in remaining], remaining)

    def _generate_alike(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, GeneratedReply]]:
        """The replies to prompts of one length."""
        prompts, limit = [request.prompt for request in requests], max(request.max_tokens for request in requests)
        names = [name for request in requests for name in request.pictures]
        pictures = self.picture_inputs(torch.tensor(prompts), names) if names else {}
        written = most_likely_tokens(self.model, prompts, limit, self.end_of_turn, alive=self.alive, pictures=pictures)
        for row, (request, ids) in enumerate(zip(requests, written, strict=True)):
            own = list(itertools.takewhile(lambda token: token not in self.end_of_turn, ids[: request.max_tokens]))
            yield row, GeneratedReply(own, finished=len(own) < min(len(ids), request.max_tokens))


def _compacted(continues: Sequence[bool]) -> list[int]:
    """The rows that continue, the last ones in the positions of those that ended, so that few have to move."""
    kept = [row for row, is_kept in enumerate(continues) if is_kept]
    movers = (row for row in reversed(kept) if row >= len(kept))
    return [row if continues[row] else next(movers) for row in range(len(kept))]


class _PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # the library is not typed for us
    """Keys and values of one layer, allocated for all tokens to come. `keys` and `values` are the part in use."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity, self._length = capacity, 0
        self._buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens to every row; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            states = (key_states, value_states)
            self._buffers = [each.new_empty(*each.shape[:2], self._capacity, each.shape[3]) for each in states]
        end = self._length + key_states.shape[2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, self._length : end] = states
        self._length = end
        return self._set_keys_and_values()

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Copy the only row to `repeats` rows."""
        filled = [self.keys, self.values]
        self._buffers = [buffer.new_empty(repeats, *buffer.shape[1:]) for buffer in self._buffers]
        for buffer, states in zip(self._buffers, filled, strict=True):
            buffer[:, :, : self._length] = states
        self._set_keys_and_values()

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, in the order of `_compacted`: each stays, or moves to the position of a row that ended."""
        rows = indices.tolist()
        for buffer in self._buffers:
            for position, row in enumerate(rows):
                if position != row:
                    buffer[position, :, : self._length] = buffer[row, :, : self._length]
        self._buffers = [buffer[: len(rows)] for buffer in self._buffers]
        self._set_keys_and_values()

    def _set_keys_and_values(self) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (buffer[:, :, : self._length] for buffer in self._buffers)
        self.keys, self.values = keys, values
        return keys, values


@dataclass
class _BatchState:
    """What the model has processed so far of a batch."""

    generator: BatchedGenerator
    cache: DynamicCache
    mask: torch.Tensor
    """1 for each token and 0 for padding; rows x tokens."""
    logits: torch.Tensor
    """Of the next token; rows x vocabulary."""

    @classmethod
    def start(cls, generator: BatchedGenerator, prompts: Sequence[list[int]], max_tokens: int) -> _BatchState:
        """Process the prompts: their common beginning once, and the rest padded on the left."""
        device = generator.model.device
        capacity = max(map(len, prompts)) + max_tokens
        cache = _preallocated_cache(generator.model, capacity)
        shared = _shared_length(prompts) if _can_share(cache, capacity) else 0
        if shared:
            beginning = torch.tensor([prompts[0][:shared]], device=device)
            generator.model(input_ids=beginning, cache=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
        remainders = [prompt[shared:] for prompt in prompts]
        longest = max(map(len, remainders))
        ids = [[generator.padding] * (longest - len(remainder)) + remainder for remainder in remainders]
        mask = [[1] * shared + [0] * (longest - len(remainder)) + [1] * len(remainder) for remainder in remainders]
        state = cls(generator, cache, torch.tensor(mask, device=device), torch.empty(0))
        state._forward(torch.tensor(ids, device=device))
        return state

    def next_tokens(self) -> list[int]:
        """The most likely next token of each row."""
        tokens: list[int] = self.logits.argmax(dim=-1).tolist()
        return tokens

    def advance(self, tokens: list[int], rows: list[int]) -> None:
        """Continue with some of the rows, in the order of `_compacted`, by one token each."""
        if len(rows) < len(self.mask):
            kept = torch.tensor(rows)
            self.cache.batch_select_indices(kept)
            self.mask = self.mask[kept]
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        self._forward(torch.tensor(tokens, device=self.mask.device).unsqueeze(1))

    def _forward(self, ids: torch.Tensor) -> None:
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self.generator.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            cache=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits = output.logits[:, -1]


def _preallocated_cache(model: PreTrainedModel, capacity: int) -> DynamicCache:
    """The library's cache for a model, with `capacity` tokens per row in the layers that attend to all tokens."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _shared_length(prompts: Sequence[list[int]]) -> int:
    """Number of tokens that all prompts begin with, less than any whole prompt; 0 if sharing them is not worthwhile."""
    if len(prompts) == 1:
        return 0
    common = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    shared = min(sum(1 for _ in common), min(map(len, prompts)) - 1)
    return shared if shared >= MIN_SHARED_TOKENS else 0


def _can_share(cache: DynamicCache, length: int) -> bool:
    """Whether padding may be in the middle of rows that become this long: it takes up positions of a sliding window."""
    windows = [layer.sliding_window for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
    return all(isinstance(layer, DynamicLayer) for layer in cache.layers) and all(length <= size for size in windows)
