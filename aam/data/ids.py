"""Ids are text: compared as written, shown quoted, never used as paths and never read as numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aam.data.files import check_file, read_lines
from aam.errors import ConfigError, InputError
from aam.wording import quote

SAMPLE_ID, FEATURE_ID = "sample-id", "feature-id"
"""How columns of ids are called in tables that are written; QIIME 2 knows both."""
MAX_SAMPLE_ID = 1024
MAX_FEATURE_ID = 65536
"""Characters; a feature id may be a whole sequence."""

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators and lone surrogates: they would break every text file an id is written to."""


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
    """Raise for the first id that is empty, too long or not printable, if there is one: some signs are just rare."""
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
    """Ids of a UTF-8 text file, one a line, in its order; blank lines are skipped and spaces around an id are dropped.

    Raises `error` for a missing or empty file, ids that repeat, and ids that no table could hold.
    """
    path = Path(path)
    check_file(path, option, error)
    ids = [line.strip() for _, line in read_lines(path, str(path), error) if line.strip()]
    if not ids:
        raise error(f"{path} holds no ids; expected one id a line")
    if "\t" in ids[0]:
        columns = ids[0].count("\t") + 1
        raise error(f"{path} has {columns} columns, expected one id a line; give the column of the ids")
    check_ids(ids, "id", str(path), error)
    return ids
