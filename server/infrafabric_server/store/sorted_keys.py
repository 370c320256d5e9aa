"""A set of texts that is always in order."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator

# Long enough that the outer list stays short, short enough that an insertion moves little.
_CHUNK = 512


class SortedKeys:
    """Texts in order, cut into chunks: each change costs two binary searches and a short move."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        ordered = sorted(set(keys))
        self._chunks = [ordered[i : i + _CHUNK] for i in range(0, len(ordered), _CHUNK)]
        self._firsts = [chunk[0] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Add `key`, which is not there."""
        if not self._chunks:
            self._chunks, self._firsts = [[key]], [key]
            return
        index = self._chunk_of(key)
        chunk = self._chunks[index]
        insort(chunk, key)
        self._firsts[index] = chunk[0]
        if len(chunk) > 2 * _CHUNK:
            self._chunks[index : index + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]
            self._firsts.insert(index + 1, chunk[_CHUNK])

    def remove(self, key: str) -> None:
        """Remove `key`, which is there."""
        index = self._chunk_of(key)
        chunk = self._chunks[index]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._firsts[index] = chunk[0]
        else:
            del self._chunks[index], self._firsts[index]

    def after(self, key: str) -> Iterator[str]:
        """Yield the texts that sort after `key`, in order; nothing may change meanwhile."""
        return self._walk(key, bisect_right)

    def since(self, key: str) -> Iterator[str]:
        """Yield `key`, if it is there, and what `after` yields."""
        return self._walk(key, bisect_left)

    def _walk(self, key: str, bisect: Callable[[list[str], str], int]) -> Iterator[str]:
        if not self._chunks:
            return
        index = self._chunk_of(key)
        chunk = self._chunks[index]
        yield from chunk[bisect(chunk, key) :]
        for chunk in self._chunks[index + 1 :]:
            yield from chunk

    def _chunk_of(self, key: str) -> int:
        return max(0, bisect_right(self._firsts, key) - 1)
