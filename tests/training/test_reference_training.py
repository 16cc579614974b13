"""Training on a reference: its loss terms, the scales of trees, resuming, and the checks before a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_step import EveryStep
from grown_reference import grown_reference

from aam.config import LossConfig, PretrainConfig, from_options
from aam.corpus.pretraining import Corpus, open_with_reference
from aam.errors import Interrupted
from aam.inference.heldout import HeldOut
from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.losses import TargetScale, pretrain_losses, root_pair_loss, scale_to
from aam.training.objective import model_inputs
from aam.training.preflight import quick_preflight
from aam.training.probes import PretrainProbes
from aam.training.run import build_learner, build_run, training_batches
from aam.training.step import step

REFERENCE = grown_reference(120)
OPTIONS: dict[str, Any] = {
    "reference": "not read", "preset": "tiny", "max_bp": 40, "token_limit": 16, "batch_size": 8, "reference_tips": 32,
    "device": "cpu",
}  # fmt: skip
CORPORA: dict[bool, Corpus] = {}


def opened(beside: bool, **options: Any) -> tuple[PretrainConfig, Corpus]:
    """A reference alone, or beside the example."""
    config = from_options(PretrainConfig, OPTIONS | {"example": beside} | options)
    if beside not in CORPORA:
        CORPORA[beside] = open_with_reference(config, REFERENCE)
    return config, CORPORA[beside]


def test_errors_are_those_of_square_roots():
    """Roots 1, 2, 3 against 1, 3, 1: squared errors 0, 1, 4, over a variance of 2."""
    pred, true = torch.zeros(3, 3), torch.zeros(3, 3)
    above = torch.triu_indices(3, 3, 1)
    pred[above[0], above[1]], true[above[0], above[1]] = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([1.0, 9.0, 1.0])
    assert root_pair_loss("tips", pred, true, 2.0).item() == pytest.approx(5 / 3 / 2)


def test_near_pairs_count_as_much_as_the_others():
    """Roots 0.1, 1, 1 against 0.2, 2, 3: a near pair is off by 0.1, two others by 1 and 2: (0.01 + 2.5) / 2."""
    pred, true = torch.zeros(3, 3), torch.zeros(3, 3)
    above = torch.triu_indices(3, 3, 1)
    pred[above[0], above[1]], true[above[0], above[1]] = torch.tensor([0.01, 1, 1]), torch.tensor([0.04, 4, 9])
    assert root_pair_loss("tips", pred, true, 1.0).item() == pytest.approx((0.1**2 + (1**2 + 2**2) / 2) / 2)


def test_twins_have_a_finite_gradient():
    pred = torch.zeros(2, 2, requires_grad=True)
    root_pair_loss("tips", pred, torch.zeros(2, 2), 1.0).backward()
    assert torch.isfinite(pred.grad).all()


def test_the_scale_of_a_tree_is_that_of_least_squares():
    """Distances 1 and 2 above the diagonal, against 3 and 4: (1 * 3 + 2 * 4) / (1 + 4)."""
    pred, true = torch.zeros(3, 3), torch.zeros(3, 3)
    pred[0, 1:], true[0, 1:] = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert scale_to(pred, true).item() == pytest.approx(11 / 5)


@pytest.mark.parametrize("same_scale", [False, True])
def test_a_table_tree_in_other_units_teaches_the_same_unless_told(same_scale: bool):
    config, found = opened(True)
    batches = training_batches(config, found)
    model = build_learner(config, batches, torch.device("cpu")).model.eval()
    batch, weights = batches[0], LossConfig(same_scale=same_scale)
    other = dataclasses.replace(batch, patristic=batch.patristic * 7)
    output = model(model_inputs(batch))
    one, seven = (
        pretrain_losses(output, each, weights, TargetScale(patristic=variance)).terms["patristic"].item()
        for each, variance in ((batch, 1.0), (other, 49.0))
    )
    assert (one == pytest.approx(seven, rel=1e-4)) is not same_scale


def test_terms_stand_in_the_log_and_the_total():
    config, found = opened(True)
    learner = build_learner(config, batches := training_batches(config, found), torch.device("cpu"))
    result = step(learner, [batches[0]], 0, 10)
    terms = dict(zip(result.names, result.terms.tolist(), strict=True))
    assert {"reference_patristic", "reference_nucleotide"} <= terms.keys()
    total = sum(getattr(config.loss, f"{name}_weight") * value for name, value in terms.items() if name != "loss")
    assert terms["loss"] == pytest.approx(total, rel=1e-5)


def trained(config: PretrainConfig, found: Corpus, after: int | None = None) -> tuple[TrainingRun, list[torch.Tensor]]:
    run = build_run(config, found, lambda learner: {"loss": 1.0})
    stop, state = StopRequest(), run.start_or_restore()
    run.meter = EveryStep(stop, after)
    if after is None:
        train(run, state, stop)
    else:
        with pytest.raises(Interrupted):
            train(run, state, stop)
    return run, run.meter.losses


@pytest.mark.parametrize(
    ("beside", "more"),
    [
        (False, {"num_workers": 2}),
        (True, {"precision": "bf16"}),
        pytest.param(False, {"precision": "bf16"}, marks=pytest.mark.slow),
        pytest.param(True, {"num_workers": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_resumed_run_is_the_run(beside: bool, more: dict[str, Any], tmp_path: Path):
    options: dict[str, Any] = {"max_steps": 4, "dropout": 0.2, **more}
    whole, losses = trained(*opened(beside, output_dir=tmp_path / "whole", **options))
    _, first = trained(*opened(beside, output_dir=tmp_path / "cut", **options), after=2)
    again, rest = trained(*opened(beside, output_dir=tmp_path / "cut", resume=True, **options))
    assert torch.stack(first + rest).equal(torch.stack(losses)) and torch.isfinite(torch.stack(losses)).all()
    for name, value in whole.learner.model.state_dict().items():
        assert value.equal(again.learner.model.state_dict()[name]), name


@pytest.mark.parametrize("beside", [pytest.param(False, marks=pytest.mark.slow), True], ids=["alone", "beside"])
def test_the_checks_before_a_run_pass(beside: bool):
    config, found = opened(beside, max_steps=2000)
    batches = training_batches(config, found)
    learner = build_learner(config, batches, torch.device("cpu"))
    done = quick_preflight(config, learner, batches, PretrainProbes(config.loss))
    assert not done.failed and len(done.checks) > 5


@pytest.mark.slow
def test_distances_of_held_out_tips_are_learned():
    """Their error falls by a third in 100 small steps on the reference alone."""
    config, _ = opened(False, max_bp=150, batch_size=2, max_steps=100)
    found = open_with_reference(config, REFERENCE)
    batches = training_batches(config, found)
    learner = build_learner(config, batches, torch.device("cpu"))
    held_out = HeldOut.of(config, found)
    assert held_out.tips is not None
    before = held_out.tips.score(learner.model)
    for number in range(100):
        step(learner, [batches[number]], number, 100)
    after = held_out.tips.score(learner.model)
    for kind in ("reference_tips", "reference_genera"):
        name = f"{kind}_mae_to_0.3"
        assert after[name] < before[name] / 1.5, (before, after)
        assert after[f"{kind}_r2"] > before[f"{kind}_r2"]


def test_scores_are_those_of_pairs_that_hold_a_tip_out():
    config, found = opened(True)
    held_out = HeldOut.of(config, found).tips
    assert held_out is not None and held_out.pairs.keys() == {"reference_tips", "reference_genera"}
    tips = held_out.tips
    for side, pairs in zip((tips.held_out, tips.genera), held_out.pairs.values(), strict=True):
        assert np.isin(pairs.left, side).all() and (pairs.left != pairs.right).all()
        np.testing.assert_allclose(pairs.true, tips.distances(pairs.left, pairs.right))
    model = build_learner(config, training_batches(config, found), torch.device("cpu")).model.eval()
    pairs = held_out.pairs["reference_tips"]
    with torch.no_grad():
        tokens = [torch.from_numpy(tips.tokens[side]) for side in (pairs.left, pairs.right)]
        left, right = (model.latent_tree(model.asv_encoder.embed(each)) for each in tokens)
        matrix = model.latent_tree.patristic(left, right)  # [n, n]: pairs lie on its diagonal
    wanted = np.abs(matrix.diagonal().double().numpy() - pairs.true)[(pairs.true > 0.1) & (pairs.true <= 0.3)].mean()
    assert held_out.score(model)["reference_tips_mae_to_0.3"] == pytest.approx(wanted, rel=1e-4)
