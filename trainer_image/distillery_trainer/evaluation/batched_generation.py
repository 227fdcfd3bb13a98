"""A model answers prompts: greedily, many at a time, and no longer than each answer takes.

The library's own `generate` runs every row of a batch until its last row is done, reads what the prompts have in common
once a row, and copies all that was read for every token that it writes. Here a row leaves the batch when it ends, a
common beginning is read once a batch, and a token goes to a place that is kept for it: for short answers and a few that
never end, and for long answers, several times faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from distillery_trainer.student.device import Device, is_out_of_memory

MAX_BATCH_ROWS = 128
"""Rows answered at once, where they fit into memory."""
MIN_SHARED_TOKENS = 16
"""Tokens that prompts must have in common for reading them once to be worth it."""
_MEMORY_SHARE = 0.4
"""Part of the free memory that the keys and values of a batch may take."""


GenerationRequest = tuple[list[int], int]
"""A prompt's ids, and the longest answer in tokens, at least 1."""


@dataclass(frozen=True, slots=True)
class GeneratedReply:
    """What a model wrote after a prompt."""

    ids: list[int]
    """Without the token that ends the turn."""
    finished: bool
    """Whether the model ended its turn; else it was cut off at the limit."""


@dataclass
class BatchedGenerator:
    """A loaded model that answers greedily."""

    model: PreTrainedModel
    """In evaluation mode, on its device."""
    device: Device
    end_of_turn: Sequence[int]
    """Ids that end an answer."""
    padding: int
    """Id that fills up shorter prompts; it is never looked at."""
    most_rows: int = field(default=MAX_BATCH_ROWS)

    def write(self, asked: Sequence[GenerationRequest]) -> Iterator[tuple[int, GeneratedReply]]:
        """Each prompt's place in `asked` and what the model wrote, in the order in which they end.

        Raises torch.OutOfMemoryError where a single prompt does not fit.
        """
        waiting = sorted(range(len(asked)), key=lambda place: len(asked[place][0]))
        while waiting:
            longest = max(len(asked[place][0]) + asked[place][1] for place in waiting)
            batch = waiting[: self._rows_that_fit(longest)]
            try:
                for place, writing in self._write_batch([asked[place] for place in batch]):
                    waiting.remove(batch[place])
                    yield batch[place], writing
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                self.most_rows = len(batch) // 2

    def _rows_that_fit(self, length: int) -> int:
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        row = 2 * config.num_hidden_layers * heads * width * self.device.dtype.itemsize * length
        return max(1, min(self.most_rows, int(_MEMORY_SHARE * self.device.free_memory() / row)))

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed for us
    def _write_batch(self, asked: Sequence[GenerationRequest]) -> Iterator[tuple[int, GeneratedReply]]:
        prompts, limits = [prompt for prompt, _ in asked], [limit for _, limit in asked]
        places = list(range(len(prompts)))
        written: list[list[int]] = [[] for _ in prompts]
        state = _BatchState.of(self, prompts, max(limits))
        while True:
            tokens, stays = state.next_tokens(), []
            for place, token in zip(places, tokens, strict=True):
                ended = token in self.end_of_turn
                if not ended:
                    written[place].append(token)
                stays.append(not ended and len(written[place]) < limits[place])
                if not stays[-1]:
                    yield place, GeneratedReply(written[place], finished=ended)
            if not any(stays):
                return
            going_on = _filled_up(stays)
            places = [places[row] for row in going_on]
            state.read([tokens[row] for row in going_on], going_on)


def _filled_up(stays: Sequence[bool]) -> list[int]:
    """The rows that stay, the last ones in the places of those that leave, so that few have to move."""
    kept = [row for row, stay in enumerate(stays) if stay]
    movers = (row for row in reversed(kept) if row >= len(kept))
    return [row if stays[row] else next(movers) for row in range(len(kept))]


class _PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # the library is not typed for us
    """Keys and values of one layer, with room for all tokens to come. `keys` and `values` are what is filled of it."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room, self._length = room, 0
        self._stores: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add tokens to every row; everything that is filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            states = (key_states, value_states)
            self._stores = [each.new_empty(*each.shape[:2], self._room, each.shape[3]) for each in states]
        end = self._length + key_states.shape[2]
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[:, :, self._length : end] = states
        self._length = end
        return self._show()

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Give each of `repeats` rows what the only one has."""
        filled = [self.keys, self.values]
        self._stores = [store.new_empty(repeats, *store.shape[1:]) for store in self._stores]
        for store, states in zip(self._stores, filled, strict=True):
            store[:, :, : self._length] = states
        self._show()

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, in the order that `_filled_up` gives: each moves to where a row has left, or stays."""
        rows = indices.tolist()
        for store in self._stores:
            for place, row in enumerate(rows):
                if place != row:
                    store[place, :, : self._length] = store[row, :, : self._length]
        self._stores = [store[: len(rows)] for store in self._stores]
        self._show()

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (store[:, :, : self._length] for store in self._stores)
        self.keys, self.values = keys, values
        return keys, values


@dataclass
class _BatchState:
    """What the model has read so far of the rows of a batch."""

    writer: BatchedGenerator
    cache: DynamicCache
    mask: torch.Tensor
    """1 for each token read and 0 for padding; rows x tokens."""
    logits: torch.Tensor
    """For the next token; rows x vocabulary."""

    @classmethod
    def of(cls, writer: BatchedGenerator, prompts: Sequence[list[int]], limit: int) -> _BatchState:
        """Read the prompts: what they have in common once, and the rest filled up on its left."""
        device = writer.model.device
        cache = _preallocated_cache(writer.model, max(map(len, prompts)) + limit)
        shared = _shared_length(prompts) if _can_share(cache, max(map(len, prompts))) else 0
        if shared:
            beginning = torch.tensor([prompts[0][:shared]], device=device)
            writer.model(input_ids=beginning, cache=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
        rests = [prompt[shared:] for prompt in prompts]
        longest = max(map(len, rests))
        ids = [[writer.padding] * (longest - len(rest)) + rest for rest in rests]
        seen = [[1] * shared + [0] * (longest - len(rest)) + [1] * len(rest) for rest in rests]
        state = cls(writer, cache, torch.tensor(seen, device=device), torch.empty(0))
        state._forward(torch.tensor(ids, device=device))
        return state

    def next_tokens(self) -> list[int]:
        """The likeliest next token of each row."""
        tokens: list[int] = self.logits.argmax(dim=-1).tolist()
        return tokens

    def read(self, tokens: list[int], rows: list[int]) -> None:
        """Go on with some of the rows, in the order that `_filled_up` gives, by one token each."""
        if len(rows) < len(self.mask):
            kept = torch.tensor(rows)
            self.cache.batch_select_indices(kept)
            self.mask = self.mask[kept]
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        self._forward(torch.tensor(tokens, device=self.mask.device).unsqueeze(1))

    def _forward(self, ids: torch.Tensor) -> None:
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self.writer.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            cache=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits = output.logits[:, -1]


def _preallocated_cache(model: PreTrainedModel, room: int) -> DynamicCache:
    """The library's cache for a model, with `room` tokens a row where a layer looks at all of them."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_PreallocatedLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _shared_length(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with, short of the whole of any; 0 where sharing them is not worth it."""
    if len(prompts) == 1:
        return 0
    alike = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    shared = min(sum(1 for _ in alike), min(map(len, prompts)) - 1)
    return shared if shared >= MIN_SHARED_TOKENS else 0


def _can_share(cache: DynamicCache, length: int) -> bool:
    """Whether padding may stand in the middle: it takes up places in a sliding window."""
    windows = [layer.sliding_window for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
    return all(isinstance(layer, DynamicLayer) for layer in cache.layers) and all(length < size for size in windows)
