"""Time of a batch's targets: UniFrac, Faith PD and tree distances on a tree of 100,000 branches, one thread.

    python benchmarks/targets.py [--branches 100000] [--asvs 200]

Samples draw their ASVs with a popularity that falls off, so that a batch shares some of them, as real ones do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np

from aam.config import Metric
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.tree import Tree

METRICS: tuple[Metric, ...] = ("unweighted", "weighted", "weighted_normalized", "generalized")
BATCHES = (8, 32, 128)
PATRISTIC = 256
REPEATS = 9


def random_tree(tips: int, rng: np.random.Generator) -> Tree:
    """A binary tree whose ranges of leaves are split at random places, half of them in the middle."""
    postorder, stack = [], [(0, tips, -1, False)]
    while stack:
        first, last, parent, done = stack.pop()
        if done or last - first == 1:
            postorder.append((first, last, parent))
            continue
        middle = int(rng.integers(first + 1, last)) if rng.random() < 0.5 else (first + last) // 2
        key = first * (tips + 1) + last
        stack += [(first, last, parent, True), (middle, last, key, False), (first, middle, key, False)]
    place = {first * (tips + 1) + last: node for node, (first, last, _) in enumerate(postorder)}
    starts, ends, parents = np.array(postorder).T
    above = np.array([place.get(key, -1) for key in parents.tolist()])
    lengths = rng.gamma(0.5, 0.02, len(postorder))
    names = [f"t{tip}" for tip in range(tips)]
    return Tree(names, starts.astype(np.int32), ends.astype(np.int32), lengths, above.astype(np.int32))


def median_ms(work: Callable[[], object]) -> float:
    """Median time of some runs in milliseconds; the first, which warms up, is left out."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


@click.command()
@click.option("--branches", default=100_000, show_default=True)
@click.option("--asvs", default=200, show_default=True, help="ASVs drawn per sample; repeated ones count once.")
def main(branches: int, asvs: int) -> None:
    """Print ms per sample by metric and batch size, and ms for the tree distances of 256 ASVs."""
    rng = np.random.default_rng(0)
    tree = random_tree((branches + 1) // 2, rng)
    tips = len(tree.tip_names)
    popular = rng.permutation(tips)
    click.echo(f"{len(tree.first):,} branches; milliseconds per sample, UniFrac and Faith PD together")
    click.echo(f"{'':20}" + "".join(f"{f'B={size}':>10}" for size in BATCHES))
    samples = [np.unique(popular[(tips * rng.random(asvs) ** 3).astype(np.int64)]) for _ in range(max(BATCHES))]
    counts = [rng.geometric(0.02, len(sample)) for sample in samples]
    for metric in METRICS:
        targets = TreeTargets(tree, np.arange(tips), metric, 0.5)
        times = [median_ms(partial(targets, [], samples[:size], counts[:size])) / size for size in BATCHES]
        click.echo(f"{metric:20}" + "".join(f"{each:>10.3f}" for each in times))
    chosen, targets = rng.choice(tips, PATRISTIC, replace=False), TreeTargets(tree, np.arange(tips), METRICS[0], 0.5)
    click.echo(f"tree distances of {PATRISTIC} ASVs: {median_ms(lambda: targets.patristic(chosen)):.2f} ms")


if __name__ == "__main__":
    main()
