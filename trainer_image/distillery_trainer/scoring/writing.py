"""A model answers prompts: greedily, many at a time, and no longer than each answer takes.

The library's own `generate` runs every row of a batch until its last row is done, and reads what the prompts have in
common once a row. Here a row leaves the batch when it ends, and a common beginning is read once a batch: for short
answers and a few that never end, several times faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from distillery_trainer.student.device import Device, is_out_of_memory

MOST_ROWS = 128
"""Rows answered at once, where they fit into memory."""
SHARED_FROM = 16
"""Tokens that prompts must have in common for reading them once to be worth it."""
_MEMORY_SHARE = 0.4
"""Part of the free memory that the keys and values of a batch may take."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What a model wrote after a prompt."""

    ids: list[int]
    """Without the token that ends the turn."""
    finished: bool
    """Whether the model ended its turn; else it was cut off at the limit."""


@dataclass
class Writer:
    """A loaded model that answers greedily."""

    model: PreTrainedModel
    """In evaluation mode, on its device."""
    device: Device
    end_of_turn: Sequence[int]
    """Ids that end an answer."""
    padding: int
    """Id that fills up shorter prompts; it is never looked at."""
    most_rows: int = field(default=MOST_ROWS)

    def write(self, prompts: Sequence[list[int]], limit: int) -> Iterator[tuple[int, Writing]]:
        """Each prompt's place in `prompts` and what the model wrote, in the order in which they end.

        `limit` is the longest answer in tokens. Raises torch.OutOfMemoryError where a single prompt does not fit.
        """
        waiting = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        while waiting:
            batch = waiting[: self._rows_that_fit(len(prompts[waiting[-1]]) + limit)]
            try:
                for place, writing in self._write_batch([prompts[place] for place in batch], limit):
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
    def _write_batch(self, prompts: Sequence[list[int]], limit: int) -> Iterator[tuple[int, Writing]]:
        places = list(range(len(prompts)))
        written: list[list[int]] = [[] for _ in prompts]
        state = _Reading.of(self, prompts)
        for _ in range(limit):
            tokens = state.next_tokens()
            for place, token in zip(places, tokens, strict=True):
                if token in self.end_of_turn:
                    yield place, Writing(written[place], finished=True)
                else:
                    written[place].append(token)
            going_on = [row for row, token in enumerate(tokens) if token not in self.end_of_turn]
            places = [places[row] for row in going_on]
            if not places:
                return
            if len(written[places[0]]) < limit:
                state.read([tokens[row] for row in going_on], going_on)
        for place in places:
            yield place, Writing(written[place], finished=False)


@dataclass
class _Reading:
    """What the model has read so far of the rows of a batch."""

    writer: Writer
    cache: DynamicCache
    mask: torch.Tensor
    """1 for each token read and 0 for padding; rows x tokens."""
    logits: torch.Tensor
    """For the next token; rows x vocabulary."""

    @classmethod
    def of(cls, writer: Writer, prompts: Sequence[list[int]]) -> _Reading:
        """Read the prompts: what they have in common once, and the rest filled up on its left."""
        device = writer.model.device
        cache = DynamicCache(config=writer.model.config)
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
        """Go on with some of the rows, by one token each."""
        if len(rows) < len(self.mask):
            kept = torch.tensor(rows, device=self.mask.device)
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


def _shared_length(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with, short of the whole of any; 0 where sharing them is not worth it."""
    if len(prompts) == 1:
        return 0
    alike = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    shared = min(sum(1 for _ in alike), min(map(len, prompts)) - 1)
    return shared if shared >= SHARED_FROM else 0


def _can_share(cache: DynamicCache, length: int) -> bool:
    """Whether padding may stand in the middle: it takes up places in a sliding window."""
    windows = [layer.sliding_window for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
    return all(isinstance(layer, DynamicLayer) for layer in cache.layers) and all(length < size for size in windows)
