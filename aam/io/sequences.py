"""ASV sequences: the DNA of a feature id, its tokens and hashes.

FASTA is parsed here, because importing the readers of scikit-bio takes seconds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.errors import SequenceError
from aam.io.files import read_lines
from aam.io.ids import MAX_FEATURE_ID, check_ids
from aam.io.packed import plain_file
from aam.text import quote, without_annotations
from aam.vocab import AMBIGUOUS, BASES, MASK, PAD, START

SEQUENCES_AT_ONCE = 1 << 12
"""Bounds memory and changes nothing, like `ROWS_AT_ONCE`."""
ROWS_AT_ONCE = 1 << 16
"""Rows of tokens whose bytes are copied together."""
LEAST_DNA = 20
"""Letters from which on an id that looks like DNA is DNA."""
BAD = 255
"""Code of a character that is neither a base nor an IUPAC ambiguity code."""
SEQUENCES_TYPE = "FeatureData[Sequence]"
"""QIIME 2 type that holds ASV sequences."""
_MD5 = re.compile("[0-9a-f]{32}", re.IGNORECASE)
_ANNOTATED = re.compile(r"(^|[;_])\w+=")
"""What usearch and vsearch write beside an id, such as `;sample=a`."""
_TAXON = re.compile("[dkpcofgs]__|.*;")
"""Prefixes of names in Greengenes, SILVA and GTDB, or ranks joined by semicolons."""


def _code_table() -> NDArray[np.uint8]:
    """Token of each ASCII character, in both cases."""
    table = np.full(256, BAD, dtype=np.uint8)
    for letter, token in {**dict.fromkeys(AMBIGUOUS, MASK), **BASES}.items():
        table[ord(letter)] = table[ord(letter.lower())] = token
    return table


_CODES = _code_table()


GIVE_SEQUENCES = "give the sequences with --sequences FILE (FASTA or .qza)"
"""Advice to users of the command line whose ids are no DNA."""


class InvalidCharacter(NamedTuple):
    """First character that is not DNA: `row` of its sequence, `position` from 1, and how many rows have one."""

    row: int
    position: int
    character: str
    rows: int


def encode_bases(sequences: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Codes of all characters in one array [sum of lengths], BAD for other characters than DNA, and the lengths [A]."""
    text = "".join(sequences).encode("ascii", "replace")
    return _CODES[np.frombuffer(text, dtype=np.uint8)], np.fromiter(map(len, sequences), np.int64, len(sequences))


def find_invalid(sequences: Sequence[str]) -> InvalidCharacter | None:
    """The first character that is not DNA; None if all are."""
    if is_dna(sequences):
        return None
    codes, lengths = encode_bases(sequences)
    bad, ends = np.flatnonzero(codes == BAD), np.cumsum(lengths)
    rows = np.unique(np.searchsorted(ends, bad, side="right"))
    row = int(rows[0])
    position = int(bad[0] - (ends[row] - lengths[row]))
    return InvalidCharacter(row, position + 1, sequences[row][position], rows.size)


def is_dna(sequences: Sequence[str]) -> bool:
    """Whether all texts are DNA (upper or lower case), RNA, or IUPAC codes."""
    return all(
        (encode_bases(sequences[start : start + SEQUENCES_AT_ONCE])[0] != BAD).all()
        for start in range(0, len(sequences), SEQUENCES_AT_ONCE)
    )


def are_columns_dna(columns: Sequence[str], rows: Sequence[str]) -> bool:
    """Whether the columns of a table are named by sequences and its rows are not, as in tables of R packages.

    Short ids may look like DNA by chance.
    """
    return min(map(len, columns)) >= LEAST_DNA and is_dna(columns) and not is_dna(rows)


def tokenize(sequences: Sequence[str], max_bp: int, ids: Sequence[str] | None = None) -> NDArray[np.uint8]:
    """Tokens [A, L] of DNA sequences: START, at most `max_bp` bases, PAD on the right; L = 1 + min(max_bp, longest).

    Lower case reads as upper case, U as T, IUPAC ambiguity codes as MASK. Raises `SequenceError` for any other
    character within the bases that are read, naming the ASV (by `ids`, else by number), the position and how many ASVs
    are affected.
    """
    cut = [sequence[:max_bp] for sequence in sequences]
    tokens = np.full((len(cut), 1 + max(map(len, cut), default=0)), PAD, dtype=np.uint8)
    tokens[:, 0] = START
    for start in range(0, len(cut), SEQUENCES_AT_ONCE):
        codes, lengths = encode_bases(cut[start : start + SEQUENCES_AT_ONCE])
        if (codes == BAD).any():
            raise SequenceError(not_dna(cut, ids))
        rows = tokens[start : start + SEQUENCES_AT_ONCE, 1:]
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = codes
    return tokens


def not_dna(sequences: Sequence[str], ids: Sequence[str] | None) -> str:
    """Error text for sequences of which some are not DNA."""
    fault = find_invalid(sequences)
    assert fault is not None
    who = quote(ids[fault.row]) if ids is not None else f"number {fault.row + 1}"
    return (
        f"{fault.rows:,} of {len(sequences):,} sequences are not DNA, first that of ASV {who}: {fault.character!r} at "
        f"position {fault.position}; expected A C G T U or IUPAC codes; correct the sequences"
    )


def hash_sequences(sequences: Iterable[bytes], size: int) -> NDArray[np.uint8]:
    """BLAKE2b hashes [A, size] of sequences, given as bytes of text or of tokens."""
    hashes = b"".join(hashlib.blake2b(sequence, digest_size=size).digest() for sequence in sequences)
    return np.frombuffer(hashes, np.uint8).reshape(-1, size)


def unpadded_rows(tokens: NDArray[np.uint8]) -> Iterator[bytes]:
    """The bytes of each row of tokens [A, L] without padding, so that they do not depend on L."""
    width, pad = tokens.shape[1], bytes([PAD])
    for start in range(0, len(tokens), ROWS_AT_ONCE):
        text = tokens[start : start + ROWS_AT_ONCE].tobytes()
        yield from (text[row : row + width].rstrip(pad) for row in range(0, len(text), width))


def read_sequences(path: Path) -> dict[str, str]:
    """Sequence of each id of a FASTA file or a QIIME 2 `FeatureData[Sequence]`, as written; lines are joined.

    The id is the header up to the first white space. Raises `SequenceError` for files that are not FASTA, empty records
    and ids that repeat.
    """
    path = Path(path)
    with plain_file(path, "--sequences", SEQUENCES_TYPE) as plain:
        records = dict(fasta_records(plain, str(path)))
    empty = [identifier for identifier, sequence in records.items() if not sequence]
    if empty or not records:
        found = f"{len(empty):,} records without sequence, first {quote(empty[0])}" if empty else "no records"
        raise SequenceError(f"{path} holds {found}; expected '>id' lines, each followed by DNA")
    return records


def fasta_records(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Id and sequence of each record of a FASTA text, one at a time, the sequence "" where there is none.

    `name` stands for the file in messages. Raises `SequenceError` for what is not FASTA and for ids that repeat.
    """
    known = set[str]()
    identifier, lines = "", list[str]()
    for number, line in read_lines(path, name, SequenceError):
        line = line.strip()
        if line.startswith(">"):
            words = line[1:].split(maxsplit=1)
            if not words:
                raise SequenceError(f"{name}: line {number} starts a record without an id; expected '>id'")
            if words[0] in known:
                raise SequenceError(
                    f"{name}: line {number} repeats the id {quote(words[0])}; "
                    "ids must be unique: remove the second record"
                )
            if known:
                yield identifier, "".join(lines)
            identifier, lines = words[0], []
            known.add(identifier)
        elif line and not known:
            raise SequenceError(
                f"{name}: line {number} is {quote(line)}, expected a FASTA header ('>id'); is this FASTA?"
            )
        elif line:
            lines.append(line)
    if known:
        yield identifier, "".join(lines)


def sequences_of(ids: Sequence[str], path: Path | None, table: str) -> list[str]:
    """DNA of each feature id of the file named `table`, upper case and with T for U.

    Without `path` the ids themselves have to be DNA. Raises `SequenceError` if they are not, or if the file at
    `path` lacks some; the message has the first id and their number.
    """
    if path is None:
        if fault := find_invalid(ids):
            raise SequenceError(_not_dna(ids, fault, table))
        return [to_plain_dna(text) for text in ids]
    records = _by_plain_ids(read_sequences(path), ids, path)
    missing = [text for text in ids if text not in records]
    if missing:
        raise SequenceError(
            f"{path} lacks the sequences of {len(missing):,} of the {len(ids):,} features of {table} "
            f"({len(missing) / len(ids):.1%}), first {quote(missing[0])}; "
            "give the representative sequences of this very table"
        )
    return plain_sequences({text: records[text] for text in ids}, path)


def _by_plain_ids(records: dict[str, str], ids: Sequence[str], path: Path) -> dict[str, str]:
    """The records by id, those that `ids` needs also without annotations such as `;size=12;`.

    Raises `SequenceError` for one that two records have without them, with unlike sequences.
    """
    wanted = set(ids).difference(records)
    found = dict(records)
    for written, sequence in records.items():
        plain = without_annotations(written)
        if plain in wanted and found.setdefault(plain, sequence) != sequence:
            raise SequenceError(
                f"{path}: two records are {quote(plain)} without their annotations (such as ;size=12;) and have other "
                "sequences; make their ids unique"
            )
    return found


def read_asvs(path: Path) -> dict[str, str]:
    """The DNA of each record of a FASTA file or .qza by its id, upper case and with T for U; raises `SequenceError`."""
    records = read_sequences(path)
    check_ids(list(records), "id", str(path), SequenceError, MAX_FEATURE_ID)
    return dict(zip(records, plain_sequences(records, path), strict=True))


def plain_sequences(records: Mapping[str, str], path: Path) -> list[str]:
    """The sequences of records of a file, upper case and with T for U; raises `SequenceError` if some are not DNA."""
    found = list(records.values())
    if fault := find_invalid(found):
        advice = "remove the alignment gaps" if fault.character in "-." else "correct the file"
        raise SequenceError(
            f"{path}: {fault.rows:,} of {len(found):,} sequences are not DNA, first that of "
            f"{quote(list(records)[fault.row])}: {fault.character!r} at position {fault.position}; expected A C G T U "
            f"or IUPAC codes; {advice}"
        )
    return [to_plain_dna(text) for text in found]


def to_plain_dna(text: str) -> str:
    """Convert to upper case with T for U; returns the same string object if nothing changes, to save memory."""
    return text if text.isupper() and "U" not in text else text.upper().replace("U", "T")


def _not_dna(ids: Sequence[str], fault: InvalidCharacter, table: str) -> str:
    """Error text for feature ids that are no sequences."""
    look, advice = "", GIVE_SEQUENCES
    if all(map(_MD5.fullmatch, ids)):
        look = " (they look like MD5 hashes)"
    elif _ANNOTATED.search(ids[fault.row]):
        look, advice = " (they have annotations)", "remove what stands beside the sequence"
    elif _TAXON.match(ids[fault.row]):
        look, advice = " (they look like taxa)", "give the table of ASVs from before it was collapsed"
    return (
        f"{table}: {fault.rows:,} of {len(ids):,} feature ids are not DNA{look}, first {quote(ids[fault.row])} "
        f"({fault.character!r} at position {fault.position}); expected ASV sequences as ids; {advice}"
    )
