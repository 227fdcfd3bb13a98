"""Where each reply of the journal is stored."""

from __future__ import annotations

from bisect import bisect_left

import numpy

_OFFSET_BITS = 44
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_MIN_RECENT = 16_384
_RECENT_FRACTION = 16
"""Recent locations are merged once there are more than one for each 16 sorted ones, so that sorting stays cheap."""


class ReplyLocations:
    """The segment and offset of the reply to each key, in 16 bytes per reply: sorted arrays, and a small dict of recent
    ones."""

    def __init__(self) -> None:
        self._keys = numpy.empty(0, dtype=numpy.uint64)
        self._locations = numpy.empty(0, dtype=numpy.uint64)
        self._sorted_keys = self._keys.data
        self._recent: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._recent)

    def add(self, key: int, segment: int, offset: int) -> None:
        """Add a reply, replacing an earlier one under the same key."""
        self._recent[key] = segment << _OFFSET_BITS | offset
        if len(self._recent) >= max(_MIN_RECENT, len(self._keys) // _RECENT_FRACTION):
            self._merge()

    def find(self, key: int) -> tuple[int, int] | None:
        """Segment and offset of a key's reply."""
        location = self._recent.get(key)
        if location is None:
            index = bisect_left(self._sorted_keys, key)  # for a single key several times as fast as numpy's search
            if index == len(self._sorted_keys) or self._sorted_keys[index] != key:
                return None
            location = int(self._locations[index])
        return location >> _OFFSET_BITS, location & _OFFSET_MASK

    def _merge(self) -> None:
        recent = numpy.fromiter(self._recent.keys(), numpy.uint64, len(self._recent))
        locations = numpy.fromiter(self._recent.values(), numpy.uint64, len(self._recent))
        # The recent ones come first, and numpy.unique keeps the first of equal keys.
        self._keys, chosen = numpy.unique(numpy.concatenate([recent, self._keys]), return_index=True)
        self._locations = numpy.concatenate([locations, self._locations])[chosen]
        self._sorted_keys = self._keys.data
        self._recent.clear()
