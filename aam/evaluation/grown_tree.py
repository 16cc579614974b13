"""UniFrac on a tree grown from what a model says of ASVs, for studies that it has not learned from.

Latent branches are branches of the trees that were learned: on another study's tree the same samples are another
distance apart. The distances that the same branches give between ASVs still rank them well. UPGMA on
these, tempered by Hamming distances, makes a tree of the new ASVs themselves, and UniFrac on it is exact. Of three
studies left out in turn this raised the correlation with true UniFrac from 0.90, 0.90 and 0.82 to 0.95, 0.96 and 0.90
(see the experiment log). N samples, A ASVs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from aam.errors import ConfigError
from aam.evaluation.embed import Encoding
from aam.evaluation.samples import TableSamples
from aam.evaluation.upgma import MAX_ASVS, hamming, upgma_tree
from aam.models.latent_tree import Branches, LatentTree
from aam.phylogeny.community import Progress, community
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import Tree
from aam.phylogeny.unifrac import Measure

ROWS = 512
"""ASVs whose distances to all others are computed at once; bounds memory and changes nothing."""


def grown_unifrac(
    encoding: Encoding, samples: TableSamples, measure: Measure, progress: Progress
) -> NDArray[np.float64]:
    """UniFrac [N, N] of samples on a tree of their own ASVs; raises ConfigError where no such tree can be grown."""
    latent = encoding.model.latent_tree
    if latent is None:
        raise ConfigError("the model has no latent tree to grow another from; train it with --unifrac-head both")
    if len(samples.tokens) > MAX_ASVS:
        raise ConfigError(
            f"{samples.table.source}: {len(samples.tokens):,} ASVs, expected at most {MAX_ASVS:,} to grow a tree of "
            "all pairs; use --method latent-tree, or fewer samples"
        )
    names = [str(column) for column in samples.columns]
    tree = grow(latent, encoding.asvs.embeddings, samples.tokens, names)
    return full_matrix(community(samples.table.counts, names, tree), measure, "torch", progress)


def grow(latent: LatentTree, embeddings: torch.Tensor, tokens: NDArray[np.uint8], names: list[str]) -> Tree:
    """UPGMA tree of ASVs with embeddings [A, D] and tokens [A, L], in the units of the tree that was learned.

    Distances are geometric means of the learned ones and of Hamming distances, scaled to the mean of the learned.
    """
    learned = learned_distances(latent, embeddings)
    found = np.sqrt(learned * hamming(tokens))
    scale = learned.sum() / found.sum() if found.any() else 1.0
    return upgma_tree(found * scale, names)


@torch.inference_mode()
def learned_distances(latent: LatentTree, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Tree distances that the latent branches give between ASVs [A, D], [A (A - 1) / 2] in scipy's condensed order."""
    branches = latent(embeddings)
    rows = []
    for start in range(0, len(embeddings), ROWS):
        some = Branches(branches.members[start : start + ROWS], branches.tips[start : start + ROWS], branches.lengths)
        rest = Branches(branches.members[start:], branches.tips[start:], branches.lengths)
        block = latent.patristic(some, rest).double().cpu().numpy()
        rows += [row[place + 1 :] for place, row in enumerate(block)]
    return np.concatenate(rows)
