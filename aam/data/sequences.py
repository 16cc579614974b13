"""Which DNA belongs to a feature id: the id itself, or a record of a FASTA file.

A parser of its own, because importing scikit-bio's readers takes seconds and FASTA takes twenty lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from aam.data.files import check_file, read_lines, sniff
from aam.data.qza import open_artifact
from aam.data.tokenizer import Fault, find_fault
from aam.errors import SequenceError
from aam.wording import quote

ARTIFACT = "FeatureData[Sequence]"
"""QIIME 2 type that holds ASV sequences."""

_MD5 = re.compile("[0-9a-f]{32}", re.IGNORECASE)
_TAXON = re.compile("[dkpcofgs]__|.*;")
"""How names of Greengenes, SILVA and GTDB begin, or ranks joined by semicolons."""


def read_sequences(path: Path) -> dict[str, str]:
    """Sequence of each id of a FASTA file or a QIIME 2 `FeatureData[Sequence]`, as written; lines are joined.

    The id is the header up to the first white space. Raises `SequenceError` for files that are not FASTA, empty records
    and ids that repeat.
    """
    path = Path(path)
    check_file(path, "--sequences", SequenceError)
    kind = sniff(path)
    if kind == "zip":
        with open_artifact(path, ARTIFACT) as payload:
            return _parse_fasta(payload, str(path))
    if kind != "text":
        raise SequenceError(
            f"{path} is {kind} data, not sequences; expected FASTA text or a QIIME 2 {ARTIFACT} .qza; give the "
            "sequences of the ASVs"
        )
    return _parse_fasta(path, str(path))


def _parse_fasta(path: Path, name: str) -> dict[str, str]:
    """Records of a FASTA file; `name` stands for it in messages."""
    records: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for number, line in read_lines(path, name, SequenceError):
        line = line.strip()
        if line.startswith(">"):
            words = line[1:].split(maxsplit=1)
            if not words:
                raise SequenceError(f"{name}: line {number} starts a record without an id; expected '>id'")
            if words[0] in records:
                raise SequenceError(
                    f"{name}: line {number} repeats the id {quote(words[0])}; "
                    "ids must be unique: remove the second record"
                )
            lines = records[words[0]] = []
        elif line and lines is None:
            raise SequenceError(
                f"{name}: line {number} is {quote(line)}, expected a FASTA header ('>id'); is this FASTA?"
            )
        elif line and lines is not None:
            lines.append(line)
    empty = [identifier for identifier, parts in records.items() if not parts]
    if empty or not records:
        found = f"{len(empty):,} records without sequence, first {quote(empty[0])}" if empty else "no records"
        raise SequenceError(f"{name} holds {found}; expected '>id' lines, each followed by DNA")
    return {identifier: "".join(parts) for identifier, parts in records.items()}


def sequences_of(ids: Sequence[str], path: Path | None, table: str) -> list[str]:
    """DNA of each feature id of the file named `table`, upper case and with T for U.

    Without `path` the ids themselves have to be DNA. Raises `SequenceError` where they are not, or where the file at
    `path` misses some; either way with the first id and how many there are.
    """
    if path is None:
        if fault := find_fault(ids):
            raise SequenceError(_not_dna(ids, fault, table))
        return [plain(text) for text in ids]
    records = read_sequences(path)
    missing = [text for text in ids if text not in records]
    if missing:
        raise SequenceError(
            f"{path} lacks the sequences of {len(missing):,} of the {len(ids):,} features of {table} "
            f"({len(missing) / len(ids):.1%}), first {quote(missing[0])}; "
            "give the representative sequences of this very table"
        )
    found = [records[text] for text in ids]
    if fault := find_fault(found):
        advice = "remove the alignment gaps" if fault.character in "-." else "correct the file"
        raise SequenceError(
            f"{path}: {fault.rows:,} of {len(ids):,} sequences are not DNA, first that of {quote(ids[fault.row])}: "
            f"{fault.character!r} at position {fault.position}; expected A C G T U or IUPAC codes; {advice}"
        )
    return [plain(text) for text in found]


def plain(text: str) -> str:
    """Upper case, T for U; the very text where it is so already, since a table has many."""
    return text if text.isupper() and "U" not in text else text.upper().replace("U", "T")


def _not_dna(ids: Sequence[str], fault: Fault, table: str) -> str:
    """Message for feature ids that are no sequences."""
    look, advice = "", "give the sequences with --sequences FILE (FASTA or .qza)"
    if all(map(_MD5.fullmatch, ids)):
        look = " (they look like MD5 hashes)"
    elif _TAXON.match(ids[fault.row]):
        look, advice = " (they look like taxa)", "give the table of ASVs from before it was collapsed"
    return (
        f"{table}: {fault.rows:,} of {len(ids):,} feature ids are not DNA{look}, first {quote(ids[fault.row])} "
        f"({fault.character!r} at position {fault.position}); expected ASV sequences as ids; {advice}"
    )
