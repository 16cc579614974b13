"""What is said of reads that a model with positions on the gene takes, but has not learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aam.config import FinetuneConfig, PretrainConfig, from_options
from aam.config.reads import ReadsRecord
from aam.corpus.gene_doubts import doubts_on_gene, knows_every_region, shared
from aam.vocab import START, A

V4 = ReadsRecord(asvs=10, found=10, begin=611, begins=1.0, bases=150, alike=1.0, start=611, length=150)
V1V3 = replace(V4, begin=28, start=28)
TOKENS = np.full((4, 800), A, np.uint8)
TOKENS[:, 0] = START


def trained(windows: str, *reads: ReadsRecord) -> PretrainConfig:
    config = from_options(PretrainConfig, {"positions": "gene", "windows": windows})
    return replace(config, data=replace(config.data, reads=reads))


def doubts(config: PretrainConfig | FinetuneConfig, record: ReadsRecord) -> list[str]:
    return list(doubts_on_gene(config, TOKENS, [record]))


def test_a_model_of_random_windows_knows_every_region():
    config = trained("random", V4)
    assert knows_every_region(config) and not knows_every_region(trained("reads", V4))
    assert doubts(config, V4) == doubts(config, V1V3) == []
    finetuned = from_options(FinetuneConfig, {"target": ("x",), "positions": "gene"})
    assert not knows_every_region(replace(finetuned, data=replace(finetuned.data, reads=(V4,))))


def test_another_region_than_that_of_training_is_told():
    config = trained("reads", V4)
    assert doubts(config, V4) == []
    (text,) = doubts(config, V1V3)
    assert text.startswith(
        "reads lie on v1-v2 (columns 28 to 177), but those that the model has learned from on v4 (columns 611 to 760); "
        "do not trust the results: `aam place`, and `aam distance` without --model, take reads of every region"
    )
    assert doubts(trained("reads", V4, V1V3), V1V3) == []


def test_reads_of_the_same_region_that_differ_are_told_with_what_helps():
    """Longer ones can be cut to those of training; shorter or later ones only together with those of training."""
    finetuned = from_options(FinetuneConfig, {"target": ("x",), "positions": "gene"})
    config = replace(finetuned, data=replace(finetuned.data, reads=(V4,)))
    assert doubts(config, V4) == []
    (text,) = doubts(config, replace(V4, bases=250, length=250))
    lie = "bases, plus strand (column 611 of the gene)"
    assert text == (
        f"reads begin at 515F, 250 {lie}, but those that the model has learned from differ: reads begin at 515F, 150 "
        f"{lie}; no ASV of one is an ASV of the other; --trim auto cuts them to the bases that the model reads"
    )
    (text,) = doubts(config, replace(V4, begin=621, start=621, bases=140, length=140))
    assert text.endswith(
        "; train the model with --trim 621:140, the window that both cover, and give --trim 621:140 here"
    )


def test_the_share_of_columns_by_hand():
    """Of columns 641 to 790, 611 to 760 covers 641 to 760: 120 of 150."""
    assert shared(replace(V4, start=641), V4) == pytest.approx(120 / 150)
    assert shared(V1V3, V4) == 0


@pytest.mark.parametrize(("windows", "least"), [("random", 100), ("reads", 75)])
def test_short_reads_are_told(windows: str, least: int):
    config = trained(windows, V4)
    assert not any("are short" in text for text in doubts(config, replace(V4, bases=least, length=least)))
    text = doubts(config, replace(V4, bases=least - 1, length=least - 1))[0]
    assert f"reads of {least - 1} bases are short: the model has learned from reads of {least} and more" in text


def test_asvs_without_a_column_are_counted():
    tokens = TOKENS.copy()
    tokens[1:3, 1:] = 0
    (text,) = doubts_on_gene(trained("random", V4), tokens, [V4])
    assert text.startswith("2 ASVs of 4 are no 16S, or have fewer than 30 bases: the model sees nothing of them")
