"""Several tables joined by sequence: what plain dictionaries say, however the work was cut and interrupted."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import biom
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aam.config import DataConfig, PrepareConfig, PretrainConfig
from aam.corpus import prepare_part as scratch
from aam.corpus.prepare import prepare
from aam.corpus.prepared import Prepared, open_prepared
from aam.corpus.pretraining import open_corpus
from aam.corpus.samples import NOT_IN_TREE, ONLY_ABSENT_ASVS
from aam.corpus.store import open_store
from aam.errors import ConfigError, CorpusError
from aam.io.table import EMPTY_ASVS, EMPTY_SAMPLES, read_table

Counts = dict[str, dict[str, int]]
"""Reads by sample id and sequence."""
SEQUENCES = ["ACGT", "AACC", "GGTT", "TTTTT", "CAT", "GATTACA"]


def quiet(text: str) -> None:
    """Nobody listens."""


def write_table(path: Path, counts: Counts) -> Path:
    """Classic TSV of some samples, with a row for each sequence that any of them names."""
    names = sorted({name for sample in counts.values() for name in sample})
    lines = [["#OTU ID", *counts], *([name, *(str(s.get(name, 0)) for s in counts.values())] for name in names)]
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    return path


def write_tree(path: Path, names: Sequence[str]) -> Path:
    """A caterpillar of these tips; the branch of the k-th is k + 1 long."""
    text = f"{names[0]}:1"
    for place, name in enumerate(names[1:], 2):
        text = f"({text},{name}:{place}):0.5"
    path.write_text(f"{text};")
    return path


def contents(found: Prepared) -> Counts:
    """Reads by sample id and sequence."""
    table, counts = found.table, found.table.counts
    rows = [slice(*counts.indptr[row : row + 2]) for row in range(len(table.sample_ids))]
    return {
        sample: {table.sequences[c]: int(n) for c, n in zip(counts.indices[r], counts.data[r], strict=True)}
        for sample, r in zip(table.sample_ids, rows, strict=True)
    }


def config(folder: Path, tables: Sequence[Counts], trees: Sequence[Sequence[str]]) -> PrepareConfig:
    """Files a.tsv, b.tsv, ... and a.nwk, b.nwk, ... in a folder."""
    paths = tuple(write_table(folder / f"{'abc'[k]}.tsv", counts) for k, counts in enumerate(tables))
    return PrepareConfig(
        table=paths, tree=tuple(write_tree(folder / f"{'abc'[k]}.nwk", t) for k, t in enumerate(trees))
    )


SAMPLE = st.dictionaries(st.sampled_from(SEQUENCES), st.integers(0, 9), min_size=1)
TABLE = st.dictionaries(st.sampled_from(["s1", "s2", "s3", "1.10", "é"]), SAMPLE, min_size=1).filter(
    lambda table: any(any(sample.values()) for sample in table.values())
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tables=st.lists(TABLE, min_size=1, max_size=3, unique_by=str), entries=st.integers(1, 6), shared=st.booleans())
def test_joined_tables_equal_dictionaries(
    tables: list[Counts], entries: int, shared: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scratch, "ENTRIES_AT_ONCE", entries)
    whole = [{s: reads for s, c in table.items() if (reads := {k: n for k, n in c.items() if n})} for table in tables]
    wanted, study = {}, {}
    for number, table in enumerate(whole):
        for sample, reads in table.items():
            elsewhere = any(sample in other for place, other in enumerate(tables) if place != number)
            wanted[f"{'abc'[number]}.{sample}" if elsewhere else sample] = reads
            study[f"{'abc'[number]}.{sample}" if elsewhere else sample] = number
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = config(folder, tables, [SEQUENCES] if shared else [SEQUENCES] * len(tables))
        if len({path.read_bytes() for path in given.table}) < len(tables):
            return  # the same table twice is refused
        samples = [(sample, sorted(reads.items())) for table in whole for sample, reads in table.items()]
        if any(samples.count(sample) > 1 for sample in samples):
            with pytest.raises(CorpusError, match=r"have the same sample .* give each sample once"):
                prepare(given, folder / "corpus", quiet)
            return
        prepare(given, folder / "corpus", quiet)
        found = open_prepared(folder / "corpus", 150)
        assert contents(found) == wanted
        assert dict(zip(found.table.sample_ids, found.study.tolist(), strict=True)) == study
        assert found.depth.tolist() == [sum(reads.values()) for reads in wanted.values()]
        assert [found.table.sample_ids[row] for row in found.by_id] == sorted(wanted)
        used = {name for reads in wanted.values() for name in reads}
        assert set(found.table.dropped.get(EMPTY_SAMPLES, [])).isdisjoint(wanted)
        assert len(wanted) + len(found.table.dropped.get(EMPTY_SAMPLES, [])) == sum(map(len, tables))
        named = {name for table in tables for sample in table.values() for name in sample}
        assert set(found.table.dropped.get(EMPTY_ASVS, [])) == named - used
        assert sorted(found.table.sequences) == sorted(used) and len(found.tokens) == len(used)
        for number, (tree, leaves) in enumerate(zip(found.trees, found.leaves, strict=True)):
            own = used if shared or len(tables) == 1 else {name for reads in whole[number].values() for name in reads}
            assert set(tree.tip_names) == own
            columns = np.array([list(found.table.sequences).index(name) for name in tree.tip_names])
            assert leaves[columns].tolist() == list(range(len(own)))
        assert len(found.trees) == (1 if shared else len(tables))


def test_what_is_left_out_is_what_opening_the_files_leaves_out(tmp_path: Path):
    """s0 has no reads, s1 only an ASV that is not in the tree, ACGT no reads at all."""
    counts = {
        "s0": {"AACC": 0},
        "s1": {"GATTACA": 3},
        **{f"s{k}": {"AACC": k, "ACGT": 0, "CAT": 1} for k in range(2, 9)},
    }
    given = config(tmp_path, [counts], [["AACC", "CAT", "ACGT"]])
    given = PrepareConfig(table=given.table, tree=given.tree, max_missing=0.5)
    heard: list[str] = []
    prepare(given, tmp_path / "corpus", heard.append)
    plain = open_corpus(PretrainConfig(data=DataConfig(table=given.table[0], tree=given.tree[0], max_missing=0.5)))
    found = open_corpus(PretrainConfig(data=DataConfig(corpus=tmp_path / "corpus")))
    told = {reason: list(ids) for reason, ids in found.table.dropped.items()}
    assert told == plain.dropped == {
        EMPTY_SAMPLES: ["s0"], EMPTY_ASVS: ["ACGT"], NOT_IN_TREE: ["GATTACA"], ONLY_ABSENT_ASVS: ["s1"],
    }  # fmt: skip
    assert "a: 1 ASV absent from the tree" in heard and list(found.split.train) == list(plain.split.train)


def test_ids_that_occur_twice_say_so_and_a_clash_is_refused(tmp_path: Path):
    heard: list[str] = []
    given = config(tmp_path, [{"s": {"CAT": 1}, "t": {"CAT": 2}}, {"s": {"CAT": 3}}], [["CAT", "ACGT"]] * 2)
    prepare(given, tmp_path / "corpus", heard.append)
    assert list(open_prepared(tmp_path / "corpus", 150).table.sample_ids) == ["a.s", "t", "b.s"]
    assert "1 sample ids occur in several tables and begin with the table's name now, e.g. 's' is 'a.s'" in heard
    given = config(tmp_path, [{"s": {"CAT": 1}, "b.s": {"CAT": 2}}, {"s": {"CAT": 3}}], [["CAT", "ACGT"]] * 2)
    with pytest.raises(CorpusError, match=r"sample id 'b\.s' occurs twice with the table's name; rename the sample"):
        prepare(given, tmp_path / "clash", quiet)


def test_tables_named_alike_are_named_by_their_folders(tmp_path: Path):
    paths = []
    for number, name in enumerate(("gut", "skin")):
        (tmp_path / name).mkdir()
        paths.append(write_table(tmp_path / name / "table.tsv", {"s": {"CAT": number + 1}}))
    tree = write_tree(tmp_path / "tree.nwk", ["CAT", "ACGT"])
    prepare(PrepareConfig(table=tuple(paths), tree=(tree,)), tmp_path / "corpus", quiet)
    assert list(open_prepared(tmp_path / "corpus", 150).table.sample_ids) == ["gut.s", "skin.s"]


def test_a_sequence_with_several_ids_in_a_table_is_one_asv(tmp_path: Path):
    """Lower case and RNA are the same DNA: reads add up, the tip of the first stays; `cat` has the tip of CAT."""
    table = write_table(tmp_path / "a.tsv", {"s": {"ACGT": 1, "acgu": 2, "CAT": 3, "cat": 1}, "t": {"CAT": 1}})
    tree = write_tree(tmp_path / "a.nwk", ["CAT", "acgu", "ACGT"])
    prepare(PrepareConfig(table=(table,), tree=(tree,)), tmp_path / "corpus", quiet)
    found = open_prepared(tmp_path / "corpus", 150)
    assert contents(found) == {"s": {"ACGT": 3, "CAT": 4}, "t": {"CAT": 1}}
    assert sorted(found.trees[0].tip_names) == ["ACGT", "CAT"]


def test_hashed_ids_are_joined_by_their_sequences(tmp_path: Path):
    tables = [write_table(tmp_path / f"{name}.tsv", {name: {f"{name}1": 2, f"{name}2": 3}}) for name in "ab"]
    trees = [write_tree(tmp_path / f"{name}.nwk", [f"{name}1", f"{name}2"]) for name in "ab"]
    fasta = tmp_path / "all.fasta"
    fasta.write_text(">a1\nACGT\n>a2\nCAT\n>b1\nCAT\n>b2\nGGTT\n")
    prepare(PrepareConfig(table=tuple(tables), tree=tuple(trees), sequences=(fasta,)), tmp_path / "corpus", quiet)
    found = open_prepared(tmp_path / "corpus", 150)
    assert contents(found) == {"a": {"ACGT": 2, "CAT": 3}, "b": {"CAT": 2, "GGTT": 3}}


def digests(folder: Path) -> dict[str, dict]:
    return open_store(folder).manifest["arrays"]


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def three(tmp_path: Path) -> PrepareConfig:
    """Three studies as BIOM 2.1, of 30, 120 and 20 samples, over different parts of 200 sequences."""
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(200)]
    tables, trees = [], []
    for number, (samples, low, high) in enumerate([(30, 0, 80), (120, 40, 160), (20, 100, 200)]):
        counts = rng.poisson(0.6, (high - low, samples))
        path = tmp_path / f"study{number}.biom"
        with h5py.File(path, "w") as file:
            ids = [f"s{number}.{row}" for row in range(samples)]
            biom.Table(counts.astype(float), names[low:high], ids).to_hdf5(file, "test")
        tables.append(path)
        trees.append(write_tree(tmp_path / f"study{number}.nwk", names[low:high]))
    return PrepareConfig(table=tuple(tables), tree=tuple(trees))


@pytest.mark.parametrize("most", [2500, 7000, 20_000, 33_000])
def test_a_preparation_that_failed_goes_on(three: PrepareConfig, tmp_path: Path, most: int):
    """Wherever the disk was full, going on leads to the same bytes; nothing half opens in between."""
    prepare(three, tmp_path / "whole", quiet)
    with full_disk(most), pytest.raises((CorpusError, OSError), match="File too large"):
        prepare(three, tmp_path / "corpus", quiet)
    with pytest.raises(CorpusError, match="has not finished here; run the same command again"):
        open_store(tmp_path / "corpus")
    done = len(json.loads((tmp_path / "corpus" / "manifest.json").read_text())["parts"])
    heard: list[str] = []
    prepare(three, tmp_path / "corpus", heard.append)
    assert sum(line.endswith("written before") for line in heard) == done
    assert digests(tmp_path / "corpus") == digests(tmp_path / "whole")
    left = {path.name for path in (tmp_path / "corpus").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole").iterdir()}


def test_blocks_of_any_size_give_the_same_bytes(three: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prepare(three, tmp_path / "whole", quiet)
    monkeypatch.setattr(scratch, "ENTRIES_AT_ONCE", 17)
    prepare(three, tmp_path / "cut", quiet)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_each_block_is_checked_like_a_whole_table(
    three: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scratch, "ENTRIES_AT_ONCE", 17)
    with h5py.File(three.table[1], "a") as file:
        file["sample/matrix/data"][-1] = 0.5
    with pytest.raises(ValueError, match=r"study1\.biom: 1 of \d+ counts are fractional, .* sample 's1\.119'"):
        prepare(three, tmp_path / "corpus", quiet)
    with h5py.File(three.table[2], "a") as file:
        file["observation/matrix/data"][0] += 1
    one = PrepareConfig(table=three.table[2:], tree=three.tree[2:])
    with pytest.raises(ValueError, match=r"study2\.biom: the matrices stored by sample and by observation disagree"):
        prepare(one, tmp_path / "other", quiet)


def test_a_finished_corpus_stays_and_a_changed_source_is_noticed(three: PrepareConfig, tmp_path: Path):
    heard: list[str] = []
    prepare(three, tmp_path / "corpus", quiet)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}
    prepare(three, tmp_path / "corpus", heard.append)
    assert heard == [f"{tmp_path / 'corpus'} is complete already"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()} == before
    three.tree[1].write_text(three.tree[1].read_text().replace(":0.5", ":0.25"))
    with pytest.raises(CorpusError, match=r"--tree .*study1\.nwk is not the file that .*corpus was begun with"):
        prepare(three, tmp_path / "corpus", quiet)
    with pytest.raises(CorpusError, match="corpus was begun with 3 tables, now there are 2"):
        prepare(PrepareConfig(table=three.table[:2], tree=three.tree[:2]), tmp_path / "corpus", quiet)
    with pytest.raises(CorpusError, match="--max-bp is 20, but .*corpus was begun with 150"):
        prepare(PrepareConfig(table=three.table, tree=three.tree, max_bp=20), tmp_path / "corpus", quiet)


@pytest.mark.parametrize(
    ("tables", "trees", "fasta", "words"),
    [
        (0, 0, 0, "no feature table; give --table FILE, once for each study"),
        (2, 0, 0, "no rooted phylogeny; give --tree FILE, once for each study"),
        (3, 2, 0, "found 3 times --table and 2 times --tree, expected --tree once for all tables or 3 times"),
        (3, 3, 2, "found 3 times --table and 2 times --sequences, expected --sequences once for all"),
    ],
)
def test_options_that_do_not_go_together(
    three: PrepareConfig, tmp_path: Path, tables: int, trees: int, fasta: int, words: str
):
    given = PrepareConfig(table=three.table[:tables], tree=three.tree[:trees], sequences=three.tree[:fasta])
    with pytest.raises(ConfigError, match=words):
        prepare(given, tmp_path / "corpus", quiet)
    assert not (tmp_path / "corpus").exists()


def test_the_same_table_twice_and_folders_with_other_things(three: PrepareConfig, tmp_path: Path):
    copy = tmp_path / "copy.biom"
    copy.write_bytes(three.table[0].read_bytes())
    given = PrepareConfig(table=(three.table[0], copy), tree=three.tree[:1])
    with pytest.raises(ConfigError, match=r"study0\.biom and --table .*copy\.biom are the same table; give each study"):
        prepare(given, tmp_path / "corpus", quiet)
    with pytest.raises(CorpusError, match="is a folder with other files in it; give a new one"):
        prepare(three, tmp_path, quiet)


def test_a_table_in_two_formats_is_one_table(three: PrepareConfig, tmp_path: Path):
    """Else every sample was there twice, and half of those held out were trained on."""
    table = read_table(three.table[0])
    rows = zip(table.asv_ids[::-1], table.counts.toarray().T[::-1].tolist(), strict=True)
    text = "\n".join("\t".join(map(str, (name, *counts))) for name, counts in rows)
    (tmp_path / "other.tsv").write_text("\t".join(["#OTU ID", *table.sample_ids]) + f"\n{text}\n")
    given = PrepareConfig(table=(*three.table, tmp_path / "other.tsv"), tree=(*three.tree, three.tree[0]))
    with pytest.raises(CorpusError, match=r"tables study0 and other have the same sample 's0\.0' .* one of 30 in two"):
        prepare(given, tmp_path / "corpus", quiet)


def test_longer_sequences_than_were_kept_are_refused(three: PrepareConfig, tmp_path: Path):
    prepare(PrepareConfig(table=three.table, tree=three.tree, max_bp=20), tmp_path / "corpus", quiet)
    assert open_prepared(tmp_path / "corpus", 12).tokens.shape[1] == 13
    with pytest.raises(ConfigError, match="--max-bp 25, but .* was prepared with --max-bp 20 and has sequences of 30"):
        open_prepared(tmp_path / "corpus", 25)


def test_real_studies_equal_their_files(study: Callable[[str], Path], tmp_path: Path):
    """What each sample of two studies holds is what its own file says, sequence for sequence."""
    folders = [study("ibd-2538"), study("udca-gut")]
    given = PrepareConfig(
        table=tuple(each / "table.biom" for each in folders), tree=tuple(each / "tree.nwk" for each in folders)
    )
    prepare(given, tmp_path / "corpus", quiet)
    found = open_prepared(tmp_path / "corpus", 150)
    assert len(found.trees) == 2 and list(open_store(tmp_path / "corpus").check())
    start = 0
    for folder in folders:
        plain = read_table(folder / "table.biom")
        rows = np.arange(start, start := start + len(plain.sample_ids))
        column = {name: place for place, name in enumerate(found.table.sequences)}
        own = found.table.stored[rows][:, [column[name] for name in plain.sequences]]
        assert (own != plain.counts).nnz == 0 and own.sum() == found.depth[rows].sum()
