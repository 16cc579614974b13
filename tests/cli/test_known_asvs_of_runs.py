"""What a model knows goes on into the models that begin with it, and nothing is claimed where that is not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from trained_run import save_run

from aam.cli.terminal import TERMINAL
from aam.config import DataConfig, PrepareConfig, PretrainConfig
from aam.corpus.dataset import Draw
from aam.corpus.prepare import prepare
from aam.corpus.pretraining import open_corpus
from aam.folders import BEST
from aam.inference.known_asvs import KnownASVs, hashes_of, read_known, sketch_asvs, write_known
from aam.io.sequences import tokenize
from aam.workflows.notes import say_known_share, say_labelled_share, say_pretrained_share
from aam.workflows.pretrain import sketch_training_asvs
from aam.workflows.train import keep_known


def of(*sequences: str) -> KnownASVs:
    return sketch_asvs(tokenize(sequences, 10), csr_array(np.ones((1, len(sequences)), np.int64)), np.array([0]))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return save_run(tmp_path / "start")


def test_a_run_from_scratch_knows_its_own(start: Path, capsys):
    keep_known(start / BEST, of("AAAA", "CCCC"), None)
    say_known_share([start / BEST], tokenize(["AAAA", "GGGG", "CCCC", "T"], 10), TERMINAL)
    assert capsys.readouterr().err == "50% of the 4 ASVs were in training; the others are read by their sequences\n"


@pytest.mark.parametrize(
    ("sequences", "said"),
    [(["AAAA", "CCCC"], "100% of the 2 ASVs were in training\n"),
     (["GGGG"], "0% of the 1 ASVs were in training; they are read by their sequences\n")],
)  # fmt: skip
def test_there_are_no_others_where_all_or_none_were(sequences: list[str], said: str, start: Path, capsys):
    keep_known(start / BEST, of("AAAA", "CCCC"), None)
    say_known_share([start / BEST], tokenize(sequences, 10), TERMINAL)
    assert capsys.readouterr().err == said


def test_what_the_encoder_has_read_is_said_before_a_training(start: Path, capsys):
    keep_known(start / BEST, of("AAAA", "CCCC"), None)
    say_pretrained_share(start / BEST, tokenize(["AAAA", "GGGG", "CCCC", "T"], 10), TERMINAL)
    say_pretrained_share(start / BEST, tokenize(["GGGG"], 10), TERMINAL)
    rest = "were in the pretraining of the encoder, which used no labels\n"
    assert capsys.readouterr().err == f"50% of the 4 ASVs {rest}0% of the 1 ASVs {rest}"


def test_what_any_fold_had_was_in_the_labelled_samples(start: Path, tmp_path: Path, capsys):
    other = save_run(tmp_path / "other")
    for fold, known in ((start, of("AAAA", "CCCC")), (other, of("AAAA", "GGGG"))):
        keep_known(fold / BEST, known, None)
    say_labelled_share([start / BEST, other / BEST], tokenize(["AAAA", "GGGG", "CCCC", "T"], 10), TERMINAL)
    assert capsys.readouterr().err == (
        "75% of the 4 ASVs were in the labelled samples of training; the model knows the others by their sequences "
        "alone\n"
    )


def test_a_run_that_began_with_another_knows_those_of_both(tmp_path: Path, start: Path):
    write_known(start / BEST, of("AAAA", "GGGG"))
    keep_known(tmp_path, of("AAAA", "CCCC"), start)
    found = read_known(tmp_path)
    assert found is not None
    assert set(found.rows["hash"]) == set(of("AAAA", "CCCC", "GGGG").rows["hash"])


def test_where_the_other_does_not_tell_nobody_claims_anything(tmp_path: Path, start: Path, capsys):
    keep_known(tmp_path, of("AAAA"), start)
    assert read_known(tmp_path) is None
    say_known_share([tmp_path], tokenize(["AAAA"], 10), TERMINAL)
    assert capsys.readouterr().err == ""


def test_a_corpus_of_two_studies_under_one_tree_knows_each_by_itself(tmp_path: Path):
    """Together their prevalences would be half of what either has, and neither would look like itself."""
    tables = []
    for name, own in (("a", ("AAAA", "CCCC")), ("b", ("GGGG", "TTTT"))):
        header = "\t".join(f"{name}{sample}" for sample in range(6))
        rows = "".join(sequence + "\t5" * 6 + "\n" for sequence in own)
        tables.append(tmp_path / f"{name}.tsv")
        tables[-1].write_text(f"#OTU ID\t{header}\n{rows}")
    tree = tmp_path / "tree.nwk"
    tree.write_text("((AAAA:1,CCCC:2):1,(GGGG:4,TTTT:5):3);")
    prepare(PrepareConfig(table=tuple(tables), tree=(tree,)), tmp_path / "corpus", lambda text: None)
    corpus = open_corpus(PretrainConfig(data=DataConfig(corpus=tmp_path / "corpus", rarefy_depth="none")))
    assert corpus.samples(corpus.sides.train, Draw(None, None, "abundance", 0)).studies is None  # batches mix them
    known = sketch_training_asvs(corpus)
    assert sorted(known.rows["study"]) == [0, 0, 1, 1]
    tokens = tokenize(["AAAA", "CCCC"], 150)
    assert known.likeness(hashes_of(tokens), csr_array(np.ones((3, 2), np.int64))) == pytest.approx(1.0)
