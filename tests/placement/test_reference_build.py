"""How a reference is made: what becomes of each sequence, what a region cuts, and that stopped work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mutated_genes import fasta, mutated_genes, random_newick

from aam.config.reference import ReferenceConfig
from aam.errors import ReferenceFolderError
from aam.gene.profile import NO_BASE, gene_profile, reverse_complement
from aam.gene.reads import lay
from aam.observer import Observer, Progress
from aam.phylogeny.ancestors import Ancestors
from aam.phylogeny.tree import parse_tree
from aam.placement.parts import PER_PART, align_parts, begin_parts, part_path
from aam.workflows.reference import make_reference

V4 = (611, 864)


class Notes(Observer):
    """What a workflow said and warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")


@pytest.fixture(scope="module")
def genes():
    """Twelve genes; some names need quotes in Newick."""
    return mutated_genes(["it's", "d__A;p__B", "under_score", "a(b)[c]:1,2", *(f"t{number}" for number in range(8))])


@pytest.fixture(scope="module")
def made(genes, tmp_path_factory):
    """A reference of the genes with all that may be odd about its files, what was said, and its inputs."""
    folder = tmp_path_factory.mktemp("reference")
    sequences = genes.sequences()
    tips = list(sequences)
    written = dict(reversed(sequences.items()))  # the order of the file is not that of the tree
    written["t0"] = reverse_complement(written["t0"])
    written["t1"] = written["t1"].lower().replace("t", "u")
    written["t2"] = f"--{written['t2'][:50]}...-{written['t2'][50:]}"
    random = np.random.default_rng(1)
    written["t3"] = "".join(random.choice(list("ACGT"), 1500))
    del written["t4"]
    written["nowhere"] = written["t5"]
    (folder / "s.fasta").write_text(fasta(written))
    (folder / "t.nwk").write_text(f"[made by hand [twice]]{genes.tree.to_newick([quoted(tip) for tip in tips])}")
    lineages = "".join(f"{tip}\td__A;p__{number}; g__;\n" for number, tip in enumerate(tips) if tip != "t7")
    (folder / "x.tsv").write_text(f"Feature ID\tTaxon\tConfidence\n{lineages}")
    config = ReferenceConfig(folder / "s.fasta", folder / "t.nwk", folder / "x.tsv", threads=2, learn=False)
    notes = Notes()
    return make_reference(config, folder / "made", notes), notes.said, config


def quoted(name: str) -> str:
    """A name in quotes, needed or not."""
    return "'" + name.replace("'", "''") + "'"


def test_tips_are_in_the_order_of_the_tree_and_on_their_columns(genes, made):
    reference = made[0]
    kept = [tip for tip in genes.tree.tip_names if tip not in ("t3", "t4")]
    rows = [genes.tree.tip_names.index(tip) for tip in kept]
    assert reference.tree.tip_names == kept
    assert reference.codes.shape == (1739, 10) and reference.codes.dtype == np.uint8 and reference.first == 1
    straight = lay(gene_profile(), [genes.sequences()[tip] for tip in kept])
    np.testing.assert_array_equal(reference.codes.T, straight.codes)
    # Mutation makes insertions look likely in variable regions; elsewhere bases are on the columns they came from.
    assert (genes.codes[rows] == reference.codes.T).mean() > 0.95
    assert np.shares_memory(reference.on(611, 759), reference.codes)


def test_the_tree_is_that_of_the_tips_that_were_kept(genes, made):
    tree = made[0].tree
    whole, cut = Ancestors(genes.tree), Ancestors(tree)
    leaves = genes.tree.leaves_of(tree.tip_names)
    own = np.arange(len(leaves))
    np.testing.assert_allclose(
        cut.distance(own[:, None], own), whole.distance(leaves[:, None], leaves), rtol=0, atol=1e-12
    )


def test_lineages_are_those_of_the_tips(genes, made):
    numbers = {tip: number for number, tip in enumerate(genes.tree.tip_names)}
    expected = ["" if tip == "t7" else f"d__A; p__{numbers[tip]}; g__" for tip in made[0].tree.tip_names]
    assert made[0].lineages == expected


def test_what_is_left_out_is_said_and_listed(made):
    _, said, config = made
    assert said == [
        "left out: 1 tip without a sequence (t4)",
        "left out: 1 sequence without a tip (nowhere)",
        "left out: 1 sequence not of 16S (t3)",
        "turned: 1 sequence of the minus strand",
        f"warning: 1 of 10 tips have no lineage in {config.taxonomy}",
    ]
    listed = (config.sequences.parent / "made" / "left-out.tsv").read_text().splitlines()
    assert listed == [
        "id\treason",
        "t4\ttips without a sequence",
        "nowhere\tsequences without a tip",
        "t3\tsequences not of 16S",
    ]


def test_a_region_is_a_window_of_the_whole(made, tmp_path):
    whole, _, config = made
    config = ReferenceConfig(config.sequences, config.tree, region="v4", learn=False)
    window = make_reference(config, tmp_path / "v4", Observer())
    assert (window.first, window.last) == V4 and window.lineages is None
    assert window.tree.tip_names == whole.tree.tip_names
    np.testing.assert_array_equal(window.codes, whole.on(*V4))


def test_tips_with_few_bases_in_a_region_are_left_out(genes, tmp_path):
    sequences = genes.sequences()
    sequences["t6"] = sequences["t6"][:700]  # columns 1 to 700: 90 of V4, less than half of 254
    sequences["t7"] = sequences["t7"][:800]  # 190 of V4
    (tmp_path / "s.fasta").write_text(fasta(sequences))
    (tmp_path / "t.nwk").write_text(genes.tree.to_newick([quoted(tip) for tip in sequences]))
    notes = Notes()
    config = ReferenceConfig(tmp_path / "s.fasta", tmp_path / "t.nwk", region="v4", learn=False)
    reference = make_reference(config, tmp_path / "made", notes)
    assert notes.said == ["left out: 1 tip with few bases in the region (t6)"]
    assert set(sequences) - set(reference.tree.tip_names) == {"t6"}
    row = reference.codes[:, reference.tree.tip_names.index("t7")]
    assert 170 <= (row != NO_BASE).sum() <= 190


class Stopped(Observer):
    """Ctrl-C after the first part."""

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        yield stop


@pytest.fixture(scope="module")
def fragments(tmp_path_factory):
    """Inputs of 2.5 parts: V4 fragments of 100 bases."""
    folder = tmp_path_factory.mktemp("fragments")
    genes = mutated_genes([f"f{number}" for number in range(5 * PER_PART // 2)], first=620, last=719)
    (folder / "s.fasta").write_text(fasta(genes.sequences()))
    (folder / "t.nwk").write_text(genes.tree.to_newick())
    return ReferenceConfig(folder / "s.fasta", folder / "t.nwk", region="v4", threads=1, learn=False)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_stopped_work_goes_on_to_the_same_bytes(fragments, tmp_path):
    make_reference(fragments, tmp_path / "whole", Observer())
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        make_reference(fragments, stopped, Stopped())
    begun = sorted(path.name for path in (stopped / "parts").iterdir())
    assert "000000.npz" in begun and len(begun) < 4, "the first part is there, the last is not"
    written = part_path(stopped, 0).stat().st_mtime_ns
    other = tmp_path / "other.nwk"
    other.write_text("[another tree]" + fragments.tree.read_text())
    with pytest.raises(ReferenceFolderError, match="has begun with another tree; give the same files again to go on"):
        make_reference(ReferenceConfig(fragments.sequences, other, learn=False), stopped, Observer())
    assert part_path(stopped, 0).stat().st_mtime_ns == written
    make_reference(fragments, stopped, Observer())
    assert files_of(stopped) == files_of(tmp_path / "whole") and not (stopped / "parts").exists()


def test_parts_that_are_there_are_not_made_again(tmp_path):
    sequences = list(mutated_genes(["a", "b"], first=620, last=719).sequences().values())
    begin_parts(tmp_path, {"sequences": "x"})
    align_parts(tmp_path, iter(sequences), gene_profile(), 1, lambda done, total: None, 2)
    part_path(tmp_path, 0).write_bytes(b"as it was")
    align_parts(tmp_path, iter(sequences), gene_profile(), 1, lambda done, total: None, 2)
    assert part_path(tmp_path, 0).read_bytes() == b"as it was"


def test_a_complete_reference_is_opened_and_not_made_again(made):
    first, _, config = made
    folder = config.sequences.parent / "made"
    before, notes = files_of(folder), Notes()
    again = make_reference(config, folder, notes)
    assert notes.said == [f"{folder} is complete already"]
    assert files_of(folder) == before
    np.testing.assert_array_equal(first.codes, again.codes)
    assert (again.lineages, again.tree.tip_names) == (first.lineages, first.tree.tip_names)


def test_another_reference_in_the_folder_is_not_replaced(made):
    config = made[2]
    other = ReferenceConfig(config.sequences, config.tree, config.taxonomy, region="v4", learn=False)
    with pytest.raises(ReferenceFolderError, match="has a reference of other files or another region .none.; give"):
        make_reference(other, config.sequences.parent / "made", Observer())


def test_a_tree_whose_root_keeps_many_branches_after_the_cut(tmp_path):
    """Tips c and d go, and the last common ancestor of the rest has three children."""
    genes = mutated_genes(list("abcde"), first=620, last=719)
    sequences = {name: dna for name, dna in genes.sequences().items() if name not in "cd"}
    (tmp_path / "s.fasta").write_text(fasta(sequences))
    (tmp_path / "t.nwk").write_text("((a:1,b:2,e:3):4,(c:1,d:1):1);")
    reference = make_reference(
        ReferenceConfig(tmp_path / "s.fasta", tmp_path / "t.nwk", learn=False), tmp_path / "r", Observer()
    )
    assert reference.tree.to_newick() == "(a:1.0,b:2.0,e:3.0):4.0;"


def test_random_trees_of_any_names_are_written_as_they_are_read():
    random = np.random.default_rng(0)
    names = ["a b", "it''s", "'", "[x]", "d__B;p__C", "1.5e-3", "a_b", "ü"]
    assert sorted(parse_tree(random_newick(names, random).encode(), "t").tip_names) == sorted(names)
