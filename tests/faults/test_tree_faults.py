"""Entries 38 to 50: trees that are no trees, lack lengths, or do not fit the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attempts import Attempt, Case, Entries, hold
from parsers import ASVS, COUNTS, SAMPLES

entry = Entries()
SOUND = "((ACGT:1,TTTT:2):1,(GGCC:4,AACC:5):3.5):0.5;"


def unifrac(folder: Path, tree: str | bytes, words: str, code: int = 2, *options: str) -> Attempt:
    """An attempt to compute UniFrac of a sound table with this tree."""
    rows = ["\t".join(["#OTU ID", *SAMPLES])]
    rows += ["\t".join([asv, *(f"{count:.0f}" for count in row)]) for asv, row in zip(ASVS, COUNTS.T, strict=True)]
    (folder / "table.tsv").write_text("\n".join(rows) + "\n")
    path = folder / "tree.nwk"
    path.write_bytes(tree if isinstance(tree, bytes) else tree.encode())
    (folder / "out.tsv").unlink(missing_ok=True)
    files = ["--table", folder / "table.tsv", "--tree", path, "-o", folder / "out.tsv"]
    return Attempt(["unifrac", *files, *options], words, path if code else "", code)


def caterpillar(depth: int) -> str:
    """A tree as deep as it has tips, the four ASVs at its bottom."""
    tips = [*ASVS, *(f"t{number}" for number in range(depth))]
    return "(" * (len(tips) - 1) + f"{tips[0]}:1" + "".join(f",{tip}:1):1" for tip in tips[1:]) + ";"


@entry(38)
def deep(folder: Path) -> Attempt:
    return unifrac(folder, caterpillar(200_000), "3 samples with 4 ASVs", 0)


@entry(40)
def unbalanced(folder: Path) -> Iterator[Attempt]:
    for tree in (SOUND.replace("((", "("), SOUND.replace("):0.5", ""), SOUND.replace("(", "((", 1), "(((((", "))))"):
        yield unifrac(folder, tree, "character|is no Newick|ends without|unbalanced|outside the outermost")


@entry(41)
def no_semicolon(folder: Path) -> Attempt:
    return unifrac(folder, SOUND.rstrip(";"), "the tree ends without ';'; the file may be cut off, write it again")


@entry(42)
def tip_given_twice(folder: Path) -> Attempt:
    return unifrac(folder, SOUND.replace("AACC", "ACGT"), "'ACGT'")


@entry("43 44 46")
def lengths_that_are_none(folder: Path) -> Iterator[Attempt]:
    for length, words in {
        "-1": "negative|-1", "nan": "nan|not finite", "inf": "inf", "1e400": "1e400|inf", "abc": "branch length 'abc'"
    }.items():  # fmt: skip
        yield unifrac(folder, SOUND.replace(":5", f":{length}"), words)


@entry(45)
def no_lengths(folder: Path) -> Iterator[Attempt]:
    yield unifrac(folder, "((ACGT,TTTT),(GGCC,AACC));", "no branch lengths")
    yield unifrac(folder, SOUND.replace(":5", ""), "1 .*branch|without a length|no length")


@entry(47)
def three_branches_at_the_root(folder: Path) -> Attempt:
    return unifrac(folder, "((ACGT:1,TTTT:2):1,GGCC:4,AACC:5);", "unrooted: .* 3 branches, expected 2; root it first")


@entry(48)
def asv_missing_from_the_tree(folder: Path) -> Iterator[Attempt]:
    tree = "((ACGT:1,TTTT:2):1,GGCC:4);"
    yield unifrac(folder, tree, r"1 of 4 ASVs \(25.0%, allowed 10.0%\) are no tips of the tree, e.g. 'AACC'; use")
    yield unifrac(folder, tree, r"3 samples with 3 ASVs(.|\n)*|1 .*ASV", 0, "--max-missing", "0.3")


@entry(49)
def all_branches_zero(folder: Path) -> Attempt:
    return unifrac(folder, "((ACGT:0,TTTT:0):0,(GGCC:0,AACC:0):0);", "zero|0")


@entry(50)
def endless_line(folder: Path) -> Attempt:
    """A file that claims 3 GB without taking any."""
    found = unifrac(folder, b"(", "GiB|NUL|UTF-16|binary|longer")
    with (folder / "tree.nwk").open("r+b") as file:
        file.truncate(3 << 30)
    return found


def test_tree(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_tree = entry.parametrize()(test_tree)
