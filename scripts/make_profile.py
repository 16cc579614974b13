#!/usr/bin/env python3
"""Build aam/gene/16s.hmm.gz, the profile on whose columns all reads are aligned.

    python scripts/make_profile.py gg_13_8_otus/rep_set_aligned/85_otus.pynast.fasta

The file is part of the package `qiime-default-reference` 0.1.3 on PyPI: an alignment of 4,797 Greengenes 13.8
sequences (CC BY-SA 3.0; McDonald et al. 2012, doi:10.1038/ismej.2011.139). Columns in which fewer than 5 % of them have
a base are left out; all others become columns of the profile. What was made with another profile does not fit this one:
a change of its columns needs a new name.
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import numpy as np

LEAST_OCCUPIED = 0.05
"""Columns that fewer of the sequences fill are insertions."""


def main() -> None:
    """Write the profile into the package."""
    import pyhmmer

    from aam.gene.profile import PROFILE_FILE, PROFILE_NAME

    records = [part.split("\n", 1) for part in Path(sys.argv[1]).read_text().split(">")[1:]]
    text = ["".join(rows.split()).upper().replace(".", "-").replace("U", "T") for _, rows in records]
    letters = np.array([list(row) for row in text], "U1")
    letters = letters[:, (letters != "-").mean(0) > LEAST_OCCUPIED]
    rows = [
        pyhmmer.easel.TextSequence(name=name.split()[0], sequence="".join(row))
        for (name, _), row in zip(records, letters, strict=True)
    ]
    alphabet = pyhmmer.easel.Alphabet.dna()
    alignment = pyhmmer.easel.TextMSA(name=PROFILE_NAME, sequences=rows).digitize(alphabet)
    builder = pyhmmer.plan7.Builder(alphabet, architecture="fast", symfrac=0.0)
    profile, _, _ = builder.build_msa(alignment, pyhmmer.plan7.Background(alphabet))
    written = io.BytesIO()
    profile.write(written)
    lines = [line for line in written.getvalue().splitlines(True) if not line.startswith((b"DATE", b"COM"))]
    PROFILE_FILE.write_bytes(gzip.compress(b"".join(lines), mtime=0))
    print(f"{PROFILE_FILE}: {profile.M:,} columns of {len(rows):,} sequences")


if __name__ == "__main__":
    main()
