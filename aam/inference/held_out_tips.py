"""Metrics of reference tips that were held out of training: their distances to other tips by a model's latent tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.corpus.reference_tips import ReferenceTips
from aam.evaluation.tip_distances import distance_errors
from aam.inference.asvs import encode_asvs
from aam.models.pretrain_model import PretrainModel

Ints = NDArray[np.int64]
SCORED, FAR = 500, 250
"""Held-out tips of each kind that an evaluation scores, and random training tips that each is compared with."""
STEPS = (1, 2)
"""Neighbours of a held-out tip, on either side in the order of the leaves, that it is compared with too."""
PAIRS_AT_ONCE = 1 << 13
"""Bounds memory and changes nothing."""
TIP_PAIRS_STREAM = 5
"""Stream of random numbers that one seed feeds; the others are those of `aam.corpus.batches`."""


class TipPairs(NamedTuple):
    """Pairs of tips by their places in `ReferenceTips`, and their distances in the tree, [n] each."""

    left: Ints
    right: Ints
    true: NDArray[np.float64]


class HeldOutTips:
    """Pairs of held-out tips with neighbours and with training tips, drawn once: every evaluation scores the same."""

    def __init__(self, tips: ReferenceTips, seed: int):
        self.tips = tips
        rng = np.random.default_rng((seed, TIP_PAIRS_STREAM))
        far = rng.choice(tips.train, min(FAR, len(tips.train)), replace=False)
        sides = {"reference_tips": tips.held_out, "reference_genera": tips.genera}
        self.pairs = {
            name: self._pair(rng.permutation(side)[:SCORED], far) for name, side in sides.items() if len(side)
        }

    def _pair(self, places: Ints, far: Ints) -> TipPairs:
        """Pairs of each of these with all `far` tips, its neighbours, and the nearest that train on either side."""
        train, last = self.tips.train, len(self.tips.numbers) - 1
        at = np.searchsorted(train, places)
        others = [train[np.clip(at - 1, 0, None)], train[np.clip(at, None, len(train) - 1)]]
        others += [np.clip(places + sign * step, 0, last) for step in STEPS for sign in (-1, 1)]
        left = np.concatenate([np.repeat(places, len(far)), np.tile(places, len(others))])
        right = np.concatenate([np.tile(far, len(places)), *others])
        pairs = np.unique(np.stack([left, right])[:, left != right], axis=1)
        return TipPairs(pairs[0], pairs[1], self.tips.distances(pairs[0], pairs[1]))

    @torch.inference_mode()
    def score(self, model: PretrainModel) -> dict[str, float]:
        """R2 of distances and mean absolute error by bin, for each set of tips; empty for a model without a tree."""
        if model.latent_tree is None or not self.pairs:
            return {}
        places = np.unique(np.concatenate([each for pairs in self.pairs.values() for each in pairs[:2]]))
        branches = model.latent_tree(encode_asvs(model, self.tips.tokens, places).embeddings)
        found, device = dict[str, float](), branches.members.device
        for name, pairs in self.pairs.items():
            sides = (torch.from_numpy(np.searchsorted(places, each)).to(device) for each in pairs[:2])
            parts = zip(*(side.split(PAIRS_AT_ONCE) for side in sides), strict=True)
            predicted = torch.cat([model.latent_tree.pair_distances(branches, *part) for part in parts])
            errors = distance_errors(predicted.double().cpu().numpy(), pairs.true)
            found |= {f"{name}_{metric}": value for metric, value in errors.items()}
        return found
