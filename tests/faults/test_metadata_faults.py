"""Entries 51 to 64: metadata whose ids, cells or columns are not what they seem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from attempts import SMALL_RUN, Attempt, Case, Entries, hold
from generated_samples import community, write_files

entry = Entries()
COUNT = 20
AGES = [str(age) for age in np.linspace(1, 9, COUNT).round(2)]


def train(
    folder: Path, metadata: bytes | str, words: str, code: int = 2, options: Sequence[str] = (), ids: Sequence[str] = ()
) -> Attempt:
    """An attempt to train on the column `age` of these metadata; `ids` are those of the samples in the table."""
    write_files(community(samples=COUNT, asvs=20, richness=12), folder)
    rows = (folder / "table.tsv").read_text().splitlines()
    head = "\t".join(["#OTU ID", *(ids or sample_ids())])
    (folder / "table.tsv").write_text("\n".join([head, *rows[1:]]) + "\n")
    path = folder / "metadata.tsv"
    path.write_bytes(metadata if isinstance(metadata, bytes) else metadata.encode())
    files = ["--table", folder / "table.tsv", "--metadata", path, "--target", "age", "--output-dir", folder / "out"]
    return Attempt(["train", *files, *SMALL_RUN, "--dry-run", *options], words, path if code else "", code)


def sample_ids() -> list[str]:
    return [f"s{row}" for row in range(COUNT)]


def text(ages: Sequence[str] = AGES, ids: Sequence[str] = (), **columns: Sequence[str]) -> str:
    """Metadata with an age for each sample and further columns."""
    frame = pd.DataFrame({"age": list(ages), **columns}, index=pd.Index(ids or sample_ids(), name="sample-id"))
    return frame.to_csv(sep="\t")


@entry("51 to 53")
def ids_that_look_like_numbers_or_nothing(folder: Path) -> Attempt:
    """All are different samples, and all are found again."""
    ids = ["1.10", "1.1", "00123", "123", "NA", "null", "None", *sample_ids()[7:]]
    return train(folder, text(ids=ids), "20 in both; 20 have a target", 0, ids=ids)


@entry(54)
def byte_order_mark(folder: Path) -> Attempt:
    return train(folder, b"\xef\xbb\xbf" + text().encode(), "20 in both; 20 have a target", 0)


@entry(55)
def latin_1(folder: Path) -> Attempt:
    site = ["caf\xe9", *["b"] * (COUNT - 1)]
    words = "line 2 is not UTF-8 .byte 0xe9 at column .*; save the file as UTF-8"
    return train(folder, text(site=site).encode("latin-1"), words)


@entry(56)
def row_with_a_cell_too_many(folder: Path) -> Attempt:
    return train(folder, text().replace("s3\t", "s3\textra\t"), "more cells than|3 cells")


@entry(57)
def quote_that_never_ends(folder: Path) -> Attempt:
    return train(folder, text(site=["b"] * COUNT).replace("\tb\n", '\t"b\n', 1), '"|quote|unexpected end of data')


@entry(58)
def text_in_a_numeric_target(folder: Path) -> Attempt:
    return train(folder, text([*AGES[:-1], "old"]), "'age'.*'old'.*s19|'old'")


@entry(59)
def column_given_twice(folder: Path) -> Attempt:
    return train(folder, text(x=["1"] * COUNT).replace("\tx\n", "\tage\n", 1), "'age'")


@entry(60)
def samples_on_one_side_only(folder: Path) -> Attempt:
    """18 of 20 samples of the table have metadata, and 2 of the metadata are in no table."""
    ids = ["x1", "x2", *sample_ids()[2:]]
    return train(
        folder, text(ids=ids), r"20 in the metadata, 18 in both(.|\n)*2 samples that are not in the metadata", 0
    )


@entry(61)
def constant_target(folder: Path) -> Attempt:
    return train(folder, text(["7"] * COUNT), "age.*(same|one value|constant|all)")


@entry(62)
def target_that_is_missing(folder: Path) -> Attempt:
    return train(folder, text(["", "NA", *AGES[2:]]), r"18 have a target(.|\n)*2 samples without a target", 0)


@entry(64)
def covariate_that_is_the_target(folder: Path) -> Attempt:
    again = [str(2 * float(age)) for age in AGES]
    words = (
        "--covariate 'again' gives the target 'age' away: it follows from the covariate in all 20 samples.*; leave it"
    )
    return replace(train(folder, text(again=again), words, 2, ["--covariate", "again"]), file="")


def test_metadata(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_metadata = entry.parametrize()(test_metadata)
