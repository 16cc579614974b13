"""Simulated samples of reference tips: what a pretraining on a reference alone learns UniFrac from.

Like real ones, samples come from habitats, differ in richness, and consist of clades, some of them in many samples of a
habitat, with close relatives in each; abundances are log-normal. Held-out samples have held-out tips too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.corpus.reference_tips import ReferenceTips
from aam.corpus.split import MIN_SIDE, Sides
from aam.gene.profile import BASES
from aam.io.table import Table
from aam.placement.reference import Reference
from aam.vocab import PAD, A

Ints = NDArray[np.int64]
SAMPLES = 640
"""Samples on both sides together."""
READS = 2000
"""Reads of a sample."""
CLADES, NEIGHBOURS = 1000, 8
"""Clades that samples are made of, and tips of each, neighbours in the tree."""
HABITATS = 8
"""Habitats, each with its own abundances of clades."""
FEWEST_CLADES, MOST_CLADES, TIPS_OF_CLADE = 4, 20, 3.0
"""Clades in a sample, and mean number of tips of each."""
SPREAD = 2.0
"""Standard deviation of the logarithms of abundances: of clades over all samples, and of tips in one."""
SIMULATION = 4
"""Stream of random numbers that one seed feeds; the others are those of `aam.corpus.batches`."""


class Simulated(NamedTuple):
    """A table of simulated samples, its split, and the place among the `ReferenceTips` of each of its ASVs [A]."""

    table: Table
    sides: Sides
    places: Ints


def simulate(reference: Reference, tips: ReferenceTips, fraction: float, seed: int) -> Simulated:
    """Samples of the tips that train and, `fraction` of all, of any tip; its ASVs have the names of the tips."""
    held_out = max(MIN_SIDE, round(fraction * SAMPLES))
    rng = np.random.default_rng((seed, SIMULATION))
    samples = draw_samples(tips.train, SAMPLES - held_out, rng)
    samples += draw_samples(np.arange(len(tips.numbers)), held_out, rng)
    sizes = [len(places) for places, _ in samples]
    places, columns = np.unique(np.concatenate([places for places, _ in samples]), return_inverse=True)
    reads = np.concatenate([reads for _, reads in samples])
    counts = csr_array((reads, columns, np.r_[0, np.cumsum(sizes)]), shape=(SAMPLES, len(places)))
    letters = np.array(list(BASES))
    sequences = ["".join(letters[row[row != PAD][1:] - A]) for row in tips.tokens[places]]
    names = [reference.tree.tip_names[number] for number in tips.numbers[places].tolist()]
    ids = [f"simulated-{number}" for number in range(1, SAMPLES + 1)]
    table = Table(counts, ids, names, sequences, Path(reference.tree.source))
    return Simulated(table, Sides(np.arange(SAMPLES - held_out), np.arange(SAMPLES - held_out, SAMPLES)), places)


def draw_samples(side: Ints, count: int, rng: np.random.Generator) -> list[tuple[Ints, Ints]]:
    """Simulate `count` samples of the tips of a side: for each, the places of its tips (ascending) and their reads."""
    clades = max(1, min(CLADES, len(side) // NEIGHBOURS))
    first = rng.choice(max(1, len(side) - NEIGHBOURS), clades, replace=False)
    weights = rng.lognormal(0.0, SPREAD, (HABITATS, clades))
    samples = []
    for _ in range(count):
        weight, richness = weights[rng.integers(HABITATS)], rng.integers(FEWEST_CLADES, MOST_CLADES + 1)
        chosen = rng.choice(clades, min(int(richness), clades), replace=False, p=weight / weight.sum())
        sizes = np.minimum(rng.geometric(1 / TIPS_OF_CLADE, len(chosen)), NEIGHBOURS)
        within = [rng.choice(NEIGHBOURS, size, replace=False) for size in sizes.tolist()]
        near = np.repeat(first[chosen], sizes) + np.concatenate(within)
        places = side[np.unique(np.minimum(near, len(side) - 1))]
        share = rng.lognormal(0.0, SPREAD, len(places))
        reads = rng.multinomial(READS, share / share.sum())
        samples.append((places[reads > 0], reads[reads > 0]))
    return samples
