"""Names of ASVs where there is little room: the lowest taxon and a short hash, because sequences begin alike."""

from __future__ import annotations

import re
from hashlib import md5

from aam.placement.taxonomy import short_name
from aam.text import shorten

HASH = 7
"""Characters of a hash; ten thousand ASVs share one with a chance of one in five, the twenty of a figure never do."""
SHORT = 14
"""Ids up to this length stand as they are."""
WIDTH = 34
"""Characters of a name."""
HASHED = re.compile(r"[0-9a-fA-F]{32,64}")
"""An id that is a hash already, as QIIME 2 makes them: the MD5 of the sequence."""


def short_id(name: str) -> str:
    """An id of at most `SHORT` characters: itself, or the first ones of the MD5 of the sequence, as in QIIME 2."""
    if len(name) <= SHORT:
        return name
    return name[:HASH] if HASHED.fullmatch(name) else md5(name.encode(), usedforsecurity=False).hexdigest()[:HASH]


def asv_label(name: str, lineage: str = "") -> str:
    """The lowest taxon of an ASV or clade and its short id: "g__Blautia 1a2b3c4"; without a taxon "ASV 1a2b3c4"."""
    own, taxon = short_id(name), short_name(lineage)
    if not taxon:
        return own if own == name else f"ASV {own}"
    return f"{shorten(taxon, WIDTH - len(own) - 1)} {own}"
