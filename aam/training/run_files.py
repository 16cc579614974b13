"""Fingerprints of the files of a run that are read back, in its manifest, which is sealed.

The files of checkpoints are not among them: their digests lie beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aam.atomic import read_json, write_record
from aam.errors import CheckpointError
from aam.records import FINGERPRINT, Fingerprint, Many, check_shape

MANIFEST = "manifest.json"
FILES = "files"
"""Key of the fingerprints in the manifest."""
MANIFEST_SHAPE = {
    "config?": dict,
    "data?": Many({"path": str, "sha256": str}, named=True),
    "folds?": Many(Many(str), named=True),
    "sample_ids?": Many(str),
    "classes?": Many(str),
    "studies?": Many(dict),
    "health?": dict,
    f"{FILES}?": Many(FINGERPRINT, named=True),
}
"""Shape of the manifest, as far as it is read."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in the output directory of a run; raises CheckpointError if it is missing or damaged."""
    path = folder / MANIFEST
    try:
        record: dict[str, Any] = read_json(path)
        check_shape(record, MANIFEST_SHAPE)
        return record
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable ({error}); restore it; --resume writes another one") from error


@contextmanager
def recorded(run: Path, *names: str) -> Iterator[None]:
    """Context in which files of a run are written; the manifest then has their fingerprints, and none until then."""
    forget_files(run, names)
    yield
    remember_files(run, names)


def forget_files(run: Path, names: Sequence[str]) -> None:
    """Take the fingerprints of files out of the manifest of a run, if there are any."""
    change_files(run, lambda known: {name: found for name, found in known.items() if name not in names})


def remember_files(run: Path, names: Sequence[str]) -> None:
    """Put the fingerprints of files into the manifest of a run, if it has one; files that are missing are left out."""
    found = {name: Fingerprint.of(run / name)._asdict() for name in names if (run / name).is_file()}
    change_files(run, lambda known: known | found)


def change_files(run: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the fingerprints of a run, if its manifest is whole."""
    try:
        record = read_manifest(run)
    except CheckpointError:  # whoever reads it says so
        return
    known = record.get(FILES, {})
    if (changed := change(known)) != known:
        write_record(run / MANIFEST, record | {FILES: changed})


def check_recorded(run: Path, name: str, remedy: str) -> None:
    """Raise CheckpointError, with a remedy, if a file of a run is not as its manifest recorded it."""
    if not (run / MANIFEST).is_file():
        return
    recorded = read_manifest(run).get(FILES, {}).get(name)
    if recorded is None:  # of an older version, or of a run that was killed
        return
    if not (run / name).is_file():
        raise CheckpointError(f"{run / name} is missing; {remedy}")
    if Fingerprint.of(run / name)._asdict() != recorded:
        raise CheckpointError(f"{run / name} has changed since it was written; {remedy}")
