"""Ids: their checks, lists of them in files, and many strings as one array of bytes, decoded one at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from aam.errors import ConfigError, InputError
from aam.io.files import check_file, read_lines
from aam.io.kinds import check_kind
from aam.text import quote

SAMPLE_ID, FEATURE_ID = "sample-id", "feature-id"
"""Names of the columns of ids in tables that are written, both known to QIIME 2."""
MAX_SAMPLE_ID = 1024
MAX_FEATURE_ID = 65536
"""Characters; a feature id may be a whole sequence."""
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators and lone surrogates: they would break every text file an id is written to."""
STRINGS_AT_ONCE = 1 << 16
"""Strings decoded together when all are asked for."""


def check_ids(ids: Sequence[str], kind: str, name: str, error: type[InputError], longest: int = MAX_SAMPLE_ID) -> None:
    """Raise `error` unless the ids of file `name` are unique, not empty, printable and at most `longest` characters.

    `kind` is the noun of the message, e.g. "sample id".
    """
    sizes = list(map(len, ids))
    if min(sizes, default=1) == 0 or max(sizes, default=0) > longest or not all(map(str.isprintable, ids)):
        _refuse_first(ids, kind, name, error, longest)
    if len(set(ids)) < len(ids):
        repeated = [text for text, times in Counter(ids).items() if times > 1]
        raise error(
            f"{name}: {len(repeated)} {kind}{'s' * (len(repeated) > 1)} found more than once, first "
            f"{quote(repeated[0])}; "
            "ids must be unique: rename or merge them"
        )


def _refuse_first(ids: Sequence[str], kind: str, name: str, error: type[InputError], longest: int) -> None:
    """Raise for the first id that is empty, too long or has a control character; allow other unprintable ones."""
    for row, text in enumerate(ids, 1):
        if not text:
            raise error(f"{name}: {kind} number {row} is empty; give each one an id")
        if len(text) > longest:
            raise error(
                f"{name}: {kind} {quote(text)} (number {row}) has {len(text):,} characters, "
                f"at most {longest:,} are allowed"
            )
        if found := _FORBIDDEN.search(text):
            raise error(
                f"{name}: {kind} {quote(text)} (number {row}) holds the control character {found.group()!r}; rename it"
            )


def read_ids(path: Path, error: type[InputError] = ConfigError, option: str = "--validation-samples") -> list[str]:
    """Ids of a UTF-8 text file, one per line, in file order; ignores blank lines and spaces around an id.

    Raises `error` for a missing or empty file, ids that repeat, and ids that no table could hold.
    """
    path = Path(path)
    check_file(path, option, error)
    check_kind(path, str(path), error, ("text",), "text with one id a line")
    ids = [line.strip() for _, line in read_lines(path, str(path), error) if line.strip()]
    if not ids:
        raise error(f"{path} holds no ids; expected one id a line")
    if "\t" in ids[0]:
        columns = ids[0].count("\t") + 1
        raise error(f"{path} has {columns} columns, expected one id a line; give the column of the ids")
    check_ids(ids, "id", str(path), error)
    return ids


class Texts(Sequence[str]):
    """Strings [n] in UTF-8: that of row r is `data[bounds[r]:bounds[r + 1]]`; `data` uint8, `bounds` int64.

    `rows` int [n] says which rows they are, None: all, in order.
    """

    def __init__(self, data: NDArray[np.uint8], bounds: NDArray[np.int64], rows: NDArray[np.integer] | None = None):
        self.data, self.bounds, self.rows = data, bounds, rows

    def __len__(self) -> int:
        return len(self.bounds) - 1 if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> Texts: ...
    def __getitem__(self, key: int | slice) -> str | Texts:
        if isinstance(key, slice):
            return self.take(np.arange(*key.indices(len(self))))
        if not -len(self) <= key < len(self):
            raise IndexError(f"string {key} of {len(self)}")
        place = int(key) % len(self)
        row = place if self.rows is None else self.rows[place]
        return self.data[self.bounds[row] : self.bounds[row + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        if self.rows is not None:
            yield from (self[place] for place in range(len(self)))
            return
        for start in range(0, len(self), STRINGS_AT_ONCE):
            bounds = self.bounds[start : start + STRINGS_AT_ONCE + 1].tolist()
            text = self.data[bounds[0] : bounds[-1]].tobytes()
            for first, last in zip(bounds, bounds[1:], strict=False):
                yield text[first - bounds[0] : last - bounds[0]].decode()

    def take(self, places: NDArray[np.integer]) -> Texts:
        """Some of them, in this order, without decoding any."""
        return Texts(self.data, self.bounds, places if self.rows is None else self.rows[places])


def pick_texts(strings: Sequence[str], places: NDArray[np.integer]) -> Sequence[str]:
    """Select strings, in this order; of `Texts`, which may have millions, the result stays undecoded."""
    return strings.take(places) if isinstance(strings, Texts) else [strings[place] for place in places]


def find_wanted(ids: Sequence[str], wanted: Collection[str]) -> NDArray[np.bool_]:
    """Which ids [n] are among the wanted ones, a set or the keys of a dictionary."""
    return np.fromiter((text in wanted for text in ids), bool, len(ids))


def encode_texts(strings: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of strings in one array and the length of each in bytes, int64 [n]."""
    encoded = [text.encode() for text in strings]
    return np.frombuffer(b"".join(encoded), np.uint8), np.fromiter(map(len, encoded), np.int64, len(encoded))
