"""debug/investigate_all_padding.py counts padding by hand's arithmetic and names what lost all its ASVs."""

from __future__ import annotations

import dataclasses

import pytest
import torch


@pytest.fixture
def padding(script):
    return script("investigate_all_padding")


def test_slots_padding_and_cut_reads_of_a_sound_batch(padding, opened, capsys) -> None:
    batch, limit, depth = opened.batches[0], opened.config.data.token_limit, opened.corpus.depth
    assert padding.investigate(opened, batch) == 0
    assert "FAULT" not in capsys.readouterr().out
    line = next(iter(padding.inspect_samples(opened, batch, 0)))
    slots, reads = int(batch.valid[0].sum()), int(batch.counts[0].sum())
    assert line.step == f"sample {batch.sample_ids[0]}"
    assert slots == limit  # the samples of the example are richer than that
    assert line.what.startswith(f"{limit} of ")
    assert line.found == f"{reads:,} reads, {1 - reads / depth:.1%} cut"


def test_rows_that_reach_attention_are_counted(padding, opened) -> None:
    batch = opened.batches[0]
    found = {check.what: check.found for check in padding.inspect_keys(opened, batch)}
    rows = len(batch.asvs) + len(batch.masked_rows)  # distinct ASVs, and some of them again with masked bases
    assert found["asv_encoder.transformer"] == f"{rows} rows, 0 without a key"
    assert found["sample_encoder.transformer"] == "4 rows, 0 without a key"


def test_the_same_draw_is_compared_in_later_epochs(padding, opened) -> None:
    number = opened.batches.per_epoch + 1
    for check in padding.inspect_samples(opened, opened.batches[number], number):
        kept, whole = int(check.what.split()[0]), int(check.what.split()[2])
        assert kept == min(whole, 24)


def test_a_row_of_only_padding_is_caught_before_attention(padding, opened, capsys) -> None:
    batch = opened.batches[0]
    tokens = batch.tokens.clone()
    tokens[3] = 0
    assert padding.investigate(opened, dataclasses.replace(batch, tokens=tokens)) == 1
    shown = capsys.readouterr().out
    name = f"ASV {opened.corpus.table.asv_ids[batch.asvs[3]]} of "
    assert f"tokens: {name}" in shown
    assert f"keys: asv_encoder.transformer is handed {name}" in shown
    assert f"keys: asv_encoder.pooling is handed {name}" in shown


def test_a_sample_whose_asvs_were_all_cut_away_is_named(padding, opened, capsys) -> None:
    batch = opened.batches[0]
    valid, counts = batch.valid.clone(), batch.counts.clone()
    valid[2], counts[2] = False, 0
    assert padding.investigate(opened, dataclasses.replace(batch, valid=valid, counts=counts)) == 1
    shown = capsys.readouterr().out
    assert f"sample {batch.sample_ids[2]}: all " in shown
    assert f"packing: sample {batch.sample_ids[2]} has no ASV left" in shown
    assert f"keys: sample_encoder.transformer is handed sample {batch.sample_ids[2]} without a key" in shown


def test_a_sequence_without_start_is_named(padding, opened, capsys) -> None:
    batch = opened.batches[0]
    tokens = torch.roll(batch.tokens, -1, dims=1)
    tokens[:, -1] = 0
    assert padding.investigate(opened, dataclasses.replace(batch, tokens=tokens)) == 1
    assert "does not begin with START" in capsys.readouterr().out
