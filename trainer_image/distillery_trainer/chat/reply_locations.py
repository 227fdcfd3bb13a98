"""Where each reply of the journal is stored."""

from __future__ import annotations

from bisect import bisect_left

import numpy

_OFFSET_BITS = 44
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_RECENT = 16_384
_RECENT_SHARE = 16
"""New places are sorted in once they are more than this part of the old ones, so that sorting stays cheap."""


class ReplyLocations:
    """Where the reply to a key stands, in 16 bytes a reply: sorted arrays, and a small dict of what came last."""

    def __init__(self) -> None:
        self._keys = numpy.empty(0, dtype=numpy.uint64)
        self._places = numpy.empty(0, dtype=numpy.uint64)
        self._sorted = self._keys.data
        self._recent: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._recent)

    def add(self, key: int, segment: int, offset: int) -> None:
        """Remember a reply; a later one under the same key takes its place."""
        self._recent[key] = segment << _OFFSET_BITS | offset
        if len(self._recent) >= max(_RECENT, len(self._keys) // _RECENT_SHARE):
            self._merge()

    def find(self, key: int) -> tuple[int, int] | None:
        """Segment and offset of a key's reply."""
        place = self._recent.get(key)
        if place is None:
            index = bisect_left(self._sorted, key)  # on single keys several times as fast as numpy's own search
            if index == len(self._sorted) or self._sorted[index] != key:
                return None
            place = int(self._places[index])
        return place >> _OFFSET_BITS, place & _OFFSET_MASK

    def _merge(self) -> None:
        recent = numpy.fromiter(self._recent.keys(), numpy.uint64, len(self._recent))
        places = numpy.fromiter(self._recent.values(), numpy.uint64, len(self._recent))
        # The new ones stand first, and of equal keys the first one is kept.
        self._keys, chosen = numpy.unique(numpy.concatenate([recent, self._keys]), return_index=True)
        self._places = numpy.concatenate([places, self._places])[chosen]
        self._sorted = self._keys.data
        self._recent.clear()
