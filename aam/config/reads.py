"""How the reads of a table lie on the 16S gene, as corpora and checkpoints record it."""

from __future__ import annotations

from dataclasses import dataclass

from aam.config.fields import derived


@dataclass(frozen=True)
class ReadsRecord:
    """The reads of a table on the 16S gene; shares are fractions of the ASVs on the gene that were looked at.

    `asvs` were looked at, `found` of them are 16S. The most common first column is `begin` (share `begins`), the most
    common length `bases` (share `alike`); `minus` is the share of the minus strand. Nearly all reads cover the
    `length` bases from column `start` on.
    """

    asvs: int = derived(0)
    found: int = derived(0)
    begin: int = derived(0)
    begins: float = derived(0.0)
    bases: int = derived(0)
    alike: float = derived(0.0)
    minus: float = derived(0.0)
    start: int = derived(0)
    length: int = derived(0)
