"""The texts of a listing, keys and captions, in Arrow's memory: a caption takes its letters there, and no object."""

from collections.abc import Iterable, Iterator, Sequence
from operator import eq
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

Text = TypeVar("Text", bound=str | None)

PIECE = 1 << 14  # texts that are Python's while more of them come


class Texts(Sequence[Text]):
    """Texts, or None where there is none, to which others can be added, as a list of them.

    Each takes its bytes in UTF-8 and four more, where a `str` takes 57 more than that: at 15 million samples a gigabyte
    for keys and captions, not three. Raises UnicodeEncodeError for what UTF-8 cannot hold.
    """

    def __init__(self, texts: Iterable[Text] = ()):
        self._pieces: list[pa.Array] = []  # of PIECE each
        self._last: list[Text] = []
        self.extend(texts)

    def append(self, text: Text) -> None:
        import pyarrow as pa

        if isinstance(text, str) and not text.isascii():
            text.encode()  # here, not when it happens to be the last of a piece
        self._last.append(text)
        if len(self._last) == PIECE:
            self._pieces.append(pa.array(self._last, pa.string()))
            self._last = []

    def extend(self, texts: Iterable[Text]) -> None:
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._pieces) * PIECE + len(self._last)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Texts | list) and len(self) == len(other) and all(map(eq, self, other))

    def __iter__(self) -> Iterator[Text]:
        for piece in self._pieces:
            yield from piece.to_pylist()
        yield from self._last

    @overload
    def __getitem__(self, i: int) -> Text: ...
    @overload
    def __getitem__(self, i: slice) -> list[Text]: ...
    def __getitem__(self, i: int | slice) -> Text | list[Text]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        piece, place = divmod(i, PIECE)
        return self._last[place] if piece == len(self._pieces) else self._pieces[piece][place].as_py()


def repeated(texts: Sequence[str]) -> str | None:
    """The first text that is there again, if one is."""
    hashes = np.sort(np.fromiter(map(hash, texts), np.int64, len(texts)))  # a set of all takes more room
    if (hashes[1:] != hashes[:-1]).all():
        return None
    seen: set[str] = set()
    return next((text for text in texts if text in seen or seen.add(text)), None)
