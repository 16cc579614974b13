"""The embedded example is what its attribution says, and what scripts/make_example.py makes."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from pathlib import Path

import biom
import pytest
from skbio import TreeNode
from skbio.metadata import SampleMetadata

from aam.datasets import Example, example

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def infants() -> Example:
    return example()


@pytest.fixture(scope="module")
def table(infants: Example) -> biom.Table:
    return biom.load_table(str(infants.table))


@pytest.fixture(scope="module")
def tree(infants: Example) -> TreeNode:
    return TreeNode.read(str(infants.tree), format="newick", convert_underscores=False)


def recorded_checksums() -> dict[str, str]:
    """The constant CHECKSUMS of the script, read without running it."""
    source = ast.parse((ROOT / "scripts" / "make_example.py").read_text())
    values = {node.targets[0].id: node.value for node in source.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(values["CHECKSUMS"])


def test_table_has_the_documented_size_and_whole_counts(table: biom.Table) -> None:
    assert table.shape == (310, 190)
    counts = table.matrix_data.data
    assert (counts > 0).all() and (counts == counts.round()).all()
    assert table.sum("sample").min() == 1531


def test_asv_ids_are_dna_of_100_nt(table: biom.Table) -> None:
    ids = table.ids("observation")
    assert {len(asv) for asv in ids} == {100}
    assert set("".join(ids)) == set("ACGT")


def test_tree_is_rooted_has_every_length_and_exactly_the_tables_asvs(table: biom.Table, tree: TreeNode) -> None:
    assert len(tree.children) == 2
    assert all(node.length is not None and node.length >= 0 for node in tree.traverse(include_self=False))
    tips = [tip.name for tip in tree.tips()]
    assert len(tips) == len(set(tips)) == 310
    assert set(tips) == set(table.ids("observation"))


def test_metadata_holds_the_ages_of_the_tables_samples_and_nothing_else(infants: Example, table: biom.Table) -> None:
    frame = SampleMetadata.load(str(infants.metadata)).to_dataframe()
    assert list(frame.columns) == ["age_months"]
    assert set(frame.index) == set(table.ids("sample"))
    ages = frame["age_months"]
    assert ages.isna().sum() == 4
    assert Counter(ages.dropna()) == {6.0: 92, 12.0: 94}


def test_files_are_those_the_script_recorded(infants: Example) -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in infants}
    assert found == recorded_checksums()


def test_folder_is_small_and_carries_its_attribution(infants: Example) -> None:
    folder = infants.table.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 230_000
    text = (folder / "ATTRIBUTION.md").read_text()
    assert "11402" in text and "BSD 3-Clause License" in text
