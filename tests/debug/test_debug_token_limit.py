"""debug/debug_nan_token_limit.py takes real steps and stops at the first one that something is wrong with."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from aam.cli.debugging import print_inspections


@pytest.fixture
def limits(script):
    return script("debug_nan_token_limit")


def test_sound_steps_change_the_weights_and_pass(limits, opened, capsys) -> None:
    varied = opened.varied(token_limit=7, accumulate=2)
    before = {name: p.detach().clone() for name, p in varied.learner.model.named_parameters()}
    batches = varied.batches
    assert max(int(batches[number].valid.sum(1).max()) for number in range(4)) == 7
    checks = list(limits.take_steps(varied, [[batches[0], batches[1]], [batches[2], batches[3]]]))
    assert [check.step for check in checks] == ["limit 7 x 2, step 1", "limit 7 x 2, step 2"]
    assert print_inspections("", checks) == 0
    moved = [name for name, p in varied.learner.model.named_parameters() if not torch.equal(p, before[name])]
    assert len(moved) > len(before) / 2
    assert opened.learner.model is not varied.learner.model


def test_a_variation_starts_from_the_same_weights(opened) -> None:
    weights = opened.learner.model.state_dict()
    for name, tensor in opened.varied(token_limit=3, accumulate=1).learner.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_a_nan_weight_stops_the_walk_before_the_update(limits, bench, capsys) -> None:
    with torch.no_grad():
        bench.learner.model.latent_tree.membership.weight[0, 0] = math.nan
    untouched = bench.learner.model.asv_encoder.start.weight.detach().clone()
    batches = bench.batches
    checks = list(limits.take_steps(bench, [[batches[0]], [batches[1]]]))
    assert len(checks) == 1
    assert checks[0].fault.startswith("UniFrac head: ")
    shown = capsys.readouterr().out
    assert "NaN already in parameter or buffer latent_tree.membership.weight" in shown
    assert torch.equal(bench.learner.model.asv_encoder.start.weight, untouched)


def test_a_sample_that_lost_all_its_asvs_in_one_of_two_batches_is_named(limits, bench) -> None:
    first, second = bench.batches[0], bench.batches[1]
    valid, counts = second.valid.clone(), second.counts.clone()
    valid[1], counts[1] = False, 0
    (check,) = limits.take_steps(bench, [[first, dataclasses.replace(second, valid=valid, counts=counts)]])
    assert check.fault.startswith(f"packing: sample {second.sample_ids[1]} has no ASV left")


def test_nan_in_a_target_is_found_in_the_loss(limits, bench, capsys) -> None:
    batch = bench.batches[0]
    unifrac = batch.unifrac.clone()
    unifrac[0, 1] = math.nan
    (check,) = limits.take_steps(bench, [[dataclasses.replace(batch, unifrac=unifrac)]])
    assert check.fault
    assert "unifrac_true" in capsys.readouterr().out  # the step's own guard spoke up, too
