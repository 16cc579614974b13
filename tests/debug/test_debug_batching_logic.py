"""debug/investigate_batching_logic.py finds every batch that says something else than table and tree."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from generated_samples import community, write_files

from aam.config import PrepareConfig, PretrainConfig, from_dict, from_options
from aam.corpus.batches import TrainingBatches
from aam.corpus.prepare import prepare
from aam.corpus.pretraining import open_corpus
from aam.workflows.workbench import build_workbench

OTHER_ORDER = [2, 0, 1, 3]


@pytest.fixture
def batching(script):
    return script("investigate_batching_logic")


def shuffled(square: torch.Tensor) -> torch.Tensor:
    return square[OTHER_ORDER][:, OTHER_ORDER]


def swapped_slots(batch):
    """Two slots of sample 1 with different numbers of reads trade places, without their reads."""
    index, counts = batch.index.clone(), batch.counts[1]
    places = [int(counts.argmax()), int(counts.masked_fill(counts == 0, counts.max()).argmin())]
    assert counts[places[0]] > counts[places[1]] > 0
    index[1, places] = index[1, places].flip(0)
    return dataclasses.replace(batch, index=index)


def one_read_more(batch):
    counts = batch.counts.clone()
    counts[1, 0] += 10_000
    return dataclasses.replace(batch, counts=counts)


def one_sided(batch):
    unifrac = batch.unifrac.clone()
    unifrac[0, 1] += 0.125
    return dataclasses.replace(batch, unifrac=unifrac)


FAULTS = {
    "targets of other samples": (lambda b: dataclasses.replace(b, unifrac=shuffled(b.unifrac)), "unifrac: "),
    "targets of one triangle": (one_sided, "unifrac: "),
    "a distance to itself": (lambda b: dataclasses.replace(b, unifrac=b.unifrac + 0.5), "is at 0.500000 from itself"),
    "diversity of other samples": (lambda b: dataclasses.replace(b, faith_pd=b.faith_pd[OTHER_ORDER]), "faith_pd: "),
    "tree distances of other ASVs": (lambda b: dataclasses.replace(b, patristic=b.patristic.flip(0)), "patristic: "),
    "another order of samples": (
        lambda b: dataclasses.replace(b, sample_ids=[b.sample_ids[place] for place in OTHER_ORDER]),
        "reads of ASV",
    ),
    "slots that point elsewhere": (swapped_slots, "the batch says"),
    "a read too many": (one_read_more, "the batch says"),
    "tokens of other ASVs": (lambda b: dataclasses.replace(b, tokens=b.tokens.flip(0)), "do not spell its sequence"),
    "a sample twice": (
        lambda b: dataclasses.replace(b, sample_ids=[b.sample_ids[0], *b.sample_ids[:1], *b.sample_ids[2:]]),
        "comes twice",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_named(batching, opened, capsys, fault: str) -> None:
    plant, words = FAULTS[fault]
    assert batching.investigate(opened, plant(opened.batches[0])) == 1
    assert words in capsys.readouterr().out


def test_a_shuffled_target_names_the_pair_and_both_values(batching, opened, capsys) -> None:
    batch = opened.batches[0]
    said, true = shuffled(batch.unifrac), batch.unifrac
    batching.investigate(opened, dataclasses.replace(batch, unifrac=said))
    one, other = batch.sample_ids[:2]
    wanted = f"{one} and {other}: the batch says {said[0, 1]:.6f}, expected {true[0, 1]:.6f}"
    assert wanted in capsys.readouterr().out


def test_a_held_out_sample_in_training_is_named(batching, opened, capsys) -> None:
    batch, stranger = opened.batches[0], opened.corpus.split.validation[0]
    changed = dataclasses.replace(batch, sample_ids=[stranger, *batch.sample_ids[1:]])
    assert batching.investigate(opened, changed) == 1
    assert f"samples: {stranger} is no training sample" in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["weighted", "weighted_normalized"])
def test_sound_batches_of_other_metrics_agree_with_scikit_bio(batching, opened, metric: str) -> None:
    config = opened.config
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, unifrac_metric=metric))
    batches = opened.batches
    targets = type(batches.targets)(opened.corpus.tree, opened.corpus.tree.tip_names, metric, 0.5)
    targets._leaf = batches.targets._leaf
    fresh = TrainingBatches(batches.samples, batches.batch_size, targets, batches.hiding)
    assert batching.investigate(dataclasses.replace(opened, config=config), fresh[1]) == 0


def test_each_study_of_a_corpus_is_measured_on_its_own_tree(batching, tmp_path: Path, capsys) -> None:
    files: dict[str, list[Path]] = {"table": [], "tree": []}
    for seed in (1, 2):
        folder = tmp_path / f"study-{seed}"
        folder.mkdir()
        write_files(community(samples=12, asvs=20, richness=6, seed=seed), folder)
        files["table"].append(folder / "table.tsv")
        files["tree"].append(folder / "tree.nwk")
    prepare(from_dict(PrepareConfig, files), tmp_path / "corpus", lambda line: None)
    asked = {"corpus": tmp_path / "corpus", "preset": "tiny", "batch_size": 4, "rarefy_depth": "none"}
    config = from_options(PretrainConfig, asked)
    bench = build_workbench(config, open_corpus(config))
    for number in range(bench.batches.per_epoch):
        assert batching.investigate(bench, bench.batches[number], number) == 0
    assert "patristic" in capsys.readouterr().out


def test_epochs_and_processes_of_a_sound_run_agree(batching, opened) -> None:
    assert not any(check.fault for check in batching.compare_epochs(opened, 2))
    assert not batching.compare_workers(opened, 0).fault
