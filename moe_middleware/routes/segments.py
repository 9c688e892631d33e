"""Finds path patterns by their segments, in time independent of their number. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class SegmentTrie(Generic[T]):
    """Items by path pattern; each node has the continuations after some segments.

    A segment is fixed, or it has parameters and is found by the text before the first
    one, or one of its parameters takes the rest of the path. Callers must verify the
    items found: only these texts are compared.
    """

    __slots__ = ("_ends", "_fixed", "_lengths", "_loose", "_rest")

    def __init__(self) -> None:
        self._ends: list[T] = []
        self._fixed: dict[str, SegmentTrie[T]] = {}
        self._loose: dict[str, SegmentTrie[T]] = {}
        self._rest: dict[str, list[T]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, path: str, item: T, crossing: Collection[str] = ()) -> None:
        """Add an item; the parameters in ``crossing`` may match a slash."""
        self._add(path.split("/")[1:], item, [f"{{{name}" for name in crossing])

    def find(self, path: str, start: int = 1) -> Sequence[T]:
        """Return the items that may match, in no order; ``start`` follows a slash."""
        node = self
        while not node._lengths:
            slash = path.find("/", start)
            segment = path[start:slash] if slash > 0 else path[start:]
            if segment not in node._fixed:
                return ()
            node = node._fixed[segment]
            if slash < 0:
                return node._ends
            start = slash + 1
        return node._find_loose(path, start)

    def _add(self, segments: Sequence[str], item: T, crossing: Sequence[str]) -> None:
        if not segments:
            self._ends.append(item)
            return
        segment, *following = segments
        prefix, brace, _ = segment.partition("{")
        if not brace:
            node = self._fixed.setdefault(segment, SegmentTrie())
            node._add(following, item, crossing)
            return
        self._lengths = tuple(sorted({*self._lengths, len(prefix)}))
        # A name may be the beginning of another; then too many items are found, never
        # too few.
        if any(parameter in segment for parameter in crossing):
            self._rest.setdefault(prefix, []).append(item)
        else:
            node = self._loose.setdefault(prefix, SegmentTrie())
            node._add(following, item, crossing)

    def _find_loose(self, path: str, start: int) -> Sequence[T]:
        slash = path.find("/", start)
        segment = path[start:slash] if slash > 0 else path[start:]
        found: list[T] = []
        reached = [self._fixed[segment]] if segment in self._fixed else []
        for length in self._lengths:
            if length > len(segment):
                break
            prefix = segment[:length]
            if prefix in self._rest:
                found += self._rest[prefix]
            if prefix in self._loose:
                reached.append(self._loose[prefix])
        for node in reached:
            found += node._ends if slash < 0 else node.find(path, slash + 1)
        return found
