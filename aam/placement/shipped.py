"""Which reference is used where none is named: that of an environment variable, or the one in the package."""

from __future__ import annotations

import os
from pathlib import Path

from aam.errors import ConfigError

VARIABLE = "AAM_REFERENCE"
"""Environment variable with the folder of a reference."""
SHIPPED: Path | None = None
"""Folder of the reference that comes with the package."""
HOW_TO_MAKE = (
    "make one with `aam reference --sequences FASTA --tree NEWICK --taxonomy TSV -o FOLDER`, e.g. of the Greengenes "
    "files in the package qiime-default-reference of PyPI"
)


def find_reference(given: Path | None) -> Path:
    """The folder of the reference to use; raises ConfigError if there is none."""
    if given is not None:
        return given
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if SHIPPED is not None:
        return SHIPPED
    raise ConfigError(f"no reference; give --reference FOLDER (or set {VARIABLE}); {HOW_TO_MAKE}")
