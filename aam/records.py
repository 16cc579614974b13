"""Records in JSON that are read back: sealed when they are written, bounded and checked when they are read.

A seal is the digest of the rest of a record, in the record itself: a changed bit is found, and both change as one.
Records of older versions have none. Files that grow, such as logs, or that are not JSON have a `Fingerprint` in one.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

SEAL = "seal"
"""Key of the digest, in a record, of all else in it."""
MAX_BYTES = 1 << 27
"""Size of a record; the largest, manifests of millions of samples, stay below half of it."""
MAX_DEPTH = 50
"""Lists and objects within each other; those of a run nest seven deep."""
MOST = 1 << 63
"""Size that no whole number of a record has."""
NUMBER = (int, float)
"""Shape of any number."""


class ChangedError(ValueError):
    """A record is not as it was written."""


class Many(NamedTuple):
    """Shape of a list of such values; `named`: of an object of any names with such values."""

    each: Any
    named: bool = False


class Fingerprint(NamedTuple):
    """Length and SHA-256 of a file, or of how it began."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, length: int | None = None) -> Fingerprint:
        """Of a file or, with `length`, of its first bytes."""
        taken, found = 0, hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(1 << 20 if length is None else min(1 << 20, length - taken)):
                found.update(part)
                taken += len(part)
        return cls(taken, found.hexdigest())


FINGERPRINT = {"bytes": int, "sha256": str}
"""Shape of a fingerprint in a record."""


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its seal, which stands last."""
    rest = {name: value for name, value in record.items() if name != SEAL}
    return rest | {SEAL: digest_of(rest)}


def unseal(value: Any) -> Any:
    """A value without its seal, if it has one; raises ChangedError if it is not that of the rest."""
    if not isinstance(value, dict) or SEAL not in value:
        return value
    rest = {name: each for name, each in value.items() if name != SEAL}
    if value[SEAL] != (found := digest_of(rest)):
        raise ChangedError(
            f"it has changed since it was written: its seal is {str(value[SEAL])[:12]!r}, expected {found[:12]!r}"
        )
    return rest


def digest_of(value: Any) -> str:
    """SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def refuse_special(path: Path) -> None:
    """Raise ValueError for a pipe or a device, of which reading may never end; OSError if nothing is there."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("a pipe or a device, expected a regular file")


def parse_record(path: Path) -> Any:
    """The JSON value of a file without its seal; raises OSError, or ValueError for anything but a whole record."""
    refuse_special(path)
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes, expected a record of a run")
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deep, expected a record of a run") from None
    if is_deep(value):
        raise ValueError(f"nested deeper than {MAX_DEPTH}, expected a record of a run")
    return unseal(value)


def is_deep(value: Any) -> bool:
    """Whether lists and objects nest deeper than `MAX_DEPTH`."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        within = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for values in within for each in values if isinstance(each, dict | list)]
    return bool(level)


def check_shape(value: Any, shape: Any, place: str = "") -> None:
    """Raise ValueError, naming the place, unless a value has this shape.

    A shape is a type or several, `Many`, or an object of shapes by name. Names that the shape lacks are allowed; those
    that end with "?" may be missing.
    """
    if isinstance(shape, Many):
        refuse_other(value, dict if shape.named else list, place)
        for name, each in value.items() if shape.named else enumerate(value):
            check_shape(each, shape.each, f"{place}.{name}" if place else str(name))
    elif isinstance(shape, Mapping):
        refuse_other(value, dict, place)
        for name, each in shape.items():
            own, optional = name.removesuffix("?"), name.endswith("?")
            if own in value:
                check_shape(value[own], each, f"{place}.{own}" if place else own)
            elif not optional:
                raise ValueError(f"{own!r} is missing" + (f" in {place}" if place else ""))
    else:
        refuse_other(value, shape, place)


def refuse_other(value: Any, kinds: type | tuple[type, ...], place: str) -> None:
    """Raise ValueError unless a value is of one of the kinds; true and false are no numbers."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, int) and abs(value) > MOST:
        raise ValueError(f"{place or 'the whole'} is larger than any number of a run")
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = " or ".join(dict.fromkeys(NAMES[kind] for kind in kinds))
        raise ValueError(f"{place or 'the whole'} is {NAMES.get(type(value), 'null')}, expected {words}")


NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
