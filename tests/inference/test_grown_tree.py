"""A tree grown from learned distances: the distances by hand, the tree against scipy, UniFrac on it by definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform

from aam.config import ModelConfig
from aam.corpus.samples import TableSamples
from aam.errors import ConfigError
from aam.inference import scales as grown_tree
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding
from aam.inference.scales import grow_tree, grown_unifrac, learned_distances
from aam.io.sequences import tokenize
from aam.io.table import Table
from aam.models.pretrain_model import PretrainModel
from aam.observer import no_progress
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.unifrac import Measure
from aam.phylogeny.upgma import hamming_distances

SEQUENCES = ["ACGTACGTAC", "ACGTACGTAA", "ACGTTTTTAC", "GGGTACGTCC", "GGGTACGTCA", "TTTTTTTTTT"]
SMALL = ModelConfig(dim=8, heads=2, asv_layers=1, sample_layers=1, branches=16, max_bp=10)


def model(head: str = "both") -> PretrainModel:
    torch.manual_seed(0)
    return PretrainModel(ModelConfig(**{**vars(SMALL), "unifrac_head": head})).eval()


def samples(sequences: list[str] = SEQUENCES) -> TableSamples:
    """Four samples; the first and the last are alike."""
    counts = np.array([[5, 1, 0, 0, 0, 2], [0, 3, 3, 0, 1, 0], [0, 0, 0, 7, 1, 0], [5, 1, 0, 0, 0, 2]])
    table = Table(csr_array(counts), ["a", "b", "c", "d"], sequences, sequences, Path("t.biom"))
    return TableSamples(table, tokenize(sequences, 10, sequences))


def encoding(trained: PretrainModel, drawn: TableSamples) -> Encoding:
    return Encoding(trained, drawn.drawn(), encode_asvs(trained, drawn.tokens, drawn.columns), None)


def test_learned_distances_are_the_sum_over_latent_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grown_tree, "DISTANCE_ROWS", 2)  # three blocks of two
    latent, embeddings = model().latent_tree, torch.randn(6, 8)
    found = squareform(learned_distances(latent, embeddings))
    with torch.no_grad():
        members, tips, lengths = latent(embeddings)
        for i in range(6):
            for j in range(i):
                apart = sum(float(lengths[k]) * abs(float(members[i, k] - members[j, k])) for k in range(16))
                expected = float(latent.log_scale.exp()) * (apart + float(tips[i]) + float(tips[j]))
                assert found[i, j] == pytest.approx(expected, rel=1e-5)


def test_the_tree_is_the_upgma_tree_of_geometric_means() -> None:
    latent, drawn = model().latent_tree, samples()
    embeddings, names = torch.randn(6, 8), [str(column) for column in drawn.columns]
    learned = learned_distances(latent, embeddings)
    mixed = np.sqrt(learned * hamming_distances(drawn.tokens))
    mixed *= learned.mean() / mixed.mean()
    tree = grow_tree(latent, embeddings, drawn.tokens, names)
    along = TreeTargets(tree, tree.leaves_of(names), "unweighted", 0.5).patristic(np.arange(6))
    assert along == pytest.approx(squareform(cophenet(linkage(mixed, "average"))), abs=1e-12)


def test_unifrac_is_exact_on_the_grown_tree_and_zero_between_like_samples() -> None:
    trained, drawn = model(), samples()
    whole = encoding(trained, drawn)
    found = grown_unifrac(whole, drawn, Measure("unweighted", 0.5), no_progress)
    names = [str(column) for column in drawn.columns]
    tree = grow_tree(trained.latent_tree, whole.asvs.embeddings, drawn.tokens, names)
    parts = [drawn.drawn()[row] for row in range(4)]
    expected = TreeTargets(tree, tree.leaves_of(names), "unweighted", 0.5)(
        list("abcd"), [part.asvs for part in parts], [part.counts for part in parts]
    )
    assert found == pytest.approx(expected.unifrac, abs=1e-12)
    assert found[0, 3] == 0 and (found[~np.eye(4, dtype=bool)] <= 1).all() and found[0, 1] > 0


def test_the_order_of_asvs_changes_nothing() -> None:
    trained, drawn = model(), samples()
    order = [3, 5, 0, 2, 1, 4]
    table = drawn.table.select(asvs=np.array(order))
    shuffled = TableSamples(table, drawn.tokens[order])
    found = [
        grown_unifrac(encoding(trained, one), one, Measure("weighted", 0.5), no_progress) for one in (drawn, shuffled)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-9)


def test_what_cannot_be_grown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = samples()
    with pytest.raises(ConfigError, match="no latent tree to grow another from"):
        grown_unifrac(encoding(model("euclidean"), drawn), drawn, Measure("unweighted", 0.5), no_progress)
    monkeypatch.setattr(grown_tree, "MAX_ASVS", 5)
    with pytest.raises(ConfigError, match=r"t\.biom: 6 ASVs, expected at most 5"):
        grown_unifrac(encoding(model(), drawn), drawn, Measure("unweighted", 0.5), no_progress)
