"""From files to a corpus: what fits is kept, what does not is accounted for by name, nothing is matched by position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from generated_samples import community, write_files

from aam.config import DataConfig, PretrainConfig, from_options
from aam.corpus.dataset import Draw
from aam.corpus.pretraining import NOT_IN_MATRIX, Corpus, open_corpus
from aam.corpus.rarefy import SHALLOW
from aam.corpus.samples import NOT_IN_TREE, ONLY_ABSENT_ASVS, resolve_inputs
from aam.errors import ConfigError, MatrixError, TableError
from aam.io.table import EMPTY_SAMPLES

WHOLE = Draw(depth=None, token_limit=None, selection="abundance", seed=0)
IDS = [f"s{row}" for row in range(10)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_files(community(samples=10, asvs=20, richness=12), tmp_path)
    return tmp_path


@pytest.fixture
def opened(files: Path) -> Callable[..., Corpus]:
    """`opened(**data)` is the corpus of the generated files with these data options."""

    def corpus(**data: object) -> Corpus:
        given = {"table": files / "table.tsv", "tree": files / "tree.nwk", "rarefy_depth": "none"} | data
        return open_corpus(PretrainConfig(data=DataConfig(**given)))

    return corpus


def change(path: Path, row: int, column: int | slice, value: str) -> None:
    """Set cells of a table, rows and columns counted without the header and the ids."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    places = range(len(lines[0]) - 1)[column] if isinstance(column, slice) else [column]
    for place in places:
        lines[row + 1][place + 1] = value
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")


def test_everything_fits(opened: Callable[..., Corpus]):
    corpus = opened()
    assert corpus.table.sample_ids == IDS and corpus.dropped == {} and corpus.depth is None
    assert corpus.tokens.shape[0] == 20 and sorted(corpus.tree.tip_names) == sorted(corpus.table.asv_ids)
    assert sorted(corpus.split.train + corpus.split.validation) == IDS
    assert set(corpus.files) == {"table", "tree"}


def test_samples_come_in_the_order_asked_for(opened: Callable[..., Corpus]):
    corpus = opened()
    samples = corpus.samples(np.array([7, 2]), WHOLE)
    counts = corpus.table.counts.toarray()
    for place, row in enumerate((7, 2)):
        assert samples[place].sample_id == f"s{row}"
        assert np.array_equal(samples[place].asvs, np.flatnonzero(counts[row]))
        assert np.array_equal(samples[place].counts, counts[row][counts[row] > 0])


def test_every_sample_is_kept_or_accounted_for(opened: Callable[..., Corpus], files: Path):
    """s0 has no reads, s1 only an ASV that is not in the tree, s2 one read."""
    table = files / "table.tsv"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    lines[1][0] += "ACGTACGT"
    table.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    for row in range(20):
        change(table, row, slice(0, 3), "0")
    change(table, 0, 1, "50")
    change(table, 5, 2, "1")
    corpus = opened(rarefy_depth="20")
    assert corpus.table.sample_ids == IDS[3:] and corpus.depth == 20
    wanted = {EMPTY_SAMPLES: ["s0"], NOT_IN_TREE: [lines[1][0]], ONLY_ABSENT_ASVS: ["s1"], SHALLOW: ["s2"]}
    assert corpus.dropped == wanted
    assert lines[1][0] not in corpus.table.asv_ids


def test_too_many_absent_asvs_are_refused_and_allowed_on_request(opened: Callable[..., Corpus], files: Path):
    table = files / "table.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(f"ACGTACGT{line}" for line in lines[1:6]), *lines[6:]]) + "\n")
    with pytest.raises(ValueError, match=r"5 of 20 ASVs \(25\.0%, allowed 10\.0%\)"):
        opened()
    assert len(opened(max_missing=0.3).tokens) == 15


def test_a_matrix_is_aligned_by_id_whatever_its_order(opened: Callable[..., Corpus], files: Path):
    by_tree = opened()
    samples = [by_tree.samples(np.arange(10), WHOLE)[row] for row in range(10)]
    parts = IDS, [sample.asvs for sample in samples], [sample.counts for sample in samples]
    true = by_tree.targets(*parts).unifrac
    order = np.random.default_rng(0).permutation(9)  # without s9, and in another order
    np.save(files / "distances.npy", true[np.ix_(order, order)])
    (files / "distances.ids.txt").write_text("".join(f"s{row}\n" for row in order))
    corpus = opened(tree=None, unifrac_matrix=files / "distances.npy")
    assert corpus.dropped == {NOT_IN_MATRIX: ["s9"]} and corpus.tree is None
    found = corpus.targets(["s4", "s0"], parts[1][:2], parts[2][:2])
    assert found.unifrac[0, 1] == pytest.approx(true[4, 0]) and found.faith_pd is None


@pytest.mark.parametrize(("metric", "most"), [("unweighted", 1.0), ("weighted", 1e18)])
def test_a_matrix_of_distances_beyond_any_tree_is_refused(files: Path, metric: str, most: float):
    """Weighted UniFrac is at most the length of the tree, and no longer tree is taken."""
    (files / "distances.ids.txt").write_text("".join(f"{name}\n" for name in IDS))
    data = {"table": files / "table.tsv", "unifrac_matrix": files / "distances.npy", "unifrac_metric": metric}
    config = from_options(PretrainConfig, data | {"rarefy_depth": "none"})
    for largest in (most, 2 * most):
        distances = np.full((10, 10), largest)
        np.fill_diagonal(distances, 0.0)
        np.save(files / "distances.npy", distances)
        if largest == most:
            assert np.isfinite(open_corpus(config).targets(IDS[:2], [], []).unifrac.astype(np.float32) ** 2).all()
    with pytest.raises(MatrixError, match=r"distance 2.* is above 1.*, the most that this UniFrac can be"):
        open_corpus(config)


def test_groups_never_sit_on_both_sides(opened: Callable[..., Corpus], files: Path):
    group = {sample: f"child{int(sample[1:]) // 3}" for sample in IDS}
    text = "".join(f"{sample}\t{name}\n" for sample, name in group.items())
    (files / "metadata.tsv").write_text(f"sample-id\tchild\n{text}")
    split = opened(metadata=files / "metadata.tsv", group_column="child", validation_fraction=0.4).split
    assert {group[sample] for sample in split.train}.isdisjoint(group[sample] for sample in split.validation)


def test_held_out_samples_may_be_given_even_if_some_were_dropped(opened: Callable[..., Corpus], files: Path):
    for row in range(20):
        change(files / "table.tsv", row, 4, "0")
    change(files / "table.tsv", 3, 4, "2")
    (files / "held-out.txt").write_text("s4\ns8\ns1\n")
    corpus = opened(rarefy_depth="20", validation_samples=files / "held-out.txt")
    assert corpus.split.validation == ["s1", "s8"] and corpus.dropped == {SHALLOW: ["s4"]}


def test_a_depth_is_chosen_and_kept(opened: Callable[..., Corpus]):
    corpus = opened(rarefy_depth="auto")
    depths = np.asarray(corpus.table.counts.sum(axis=1))
    assert corpus.depth == depths.min() and len(depths) == 9  # nine of ten samples reach it
    with pytest.raises(TableError, match="drops all 10 samples"):
        opened(rarefy_depth="1000000")


def test_the_example_opens_and_takes_a_matrix_of_its_own():
    corpus = open_corpus(PretrainConfig(data=DataConfig(example=True)))
    assert len(corpus.table.sample_ids) + sum(map(len, corpus.dropped.values())) == 190
    assert corpus.tokens.shape == (310, 101)


def test_inputs_are_resolved_once_and_stay_so():
    data, files = resolve_inputs(DataConfig(example=True))
    assert data.table == files["table"] and data.tree == files["tree"] and not data.example
    assert resolve_inputs(data) == (data, files)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"tree": None}, "neither of --tree and --unifrac-matrix"),
        ({"unifrac_matrix": Path("x.npy")}, "both of --tree and --unifrac-matrix"),
        ({"example": True}, "both --example and --table"),
        ({"group_column": "child"}, "no --metadata file was given"),
    ],
)
def test_options_that_do_not_go_together(opened: Callable[..., Corpus], data: dict, text: str):
    with pytest.raises(ConfigError, match=text):
        opened(**data)
